"""Target `kvm-hosted`: KVM of a kernel of the user's choice, running inside Bochs. Needs no virtualization hardware."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shlex
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from emulators.bochs.cpu_models import CpuModelChoice, check_cpu_model, cpu_models
from emulators.bochs.program import BochsProgram, installed, program, quickest
from emulators.bochs.target import bochs_requirements
from emulators.host.disk import CYLINDER
from emulators.host.errors import EmulatorError, HostingError, Progress
from emulators.host.files import cache_folder
from emulators.hosted import module_parameters
from emulators.hosted.appliance import build, initramfs
from emulators.hosted.appliance.kernel import fetch
from emulators.hosted.appliance.machine import PORTS
from emulators.hosted.appliance.snapshot import DISK, Shape, try_to_host
from emulators.hosted.appliance.start import MODEL, Hosting, standalone_appliance
from emulators.hosted.host_cpu import HostCpu
from emulators.hosted.session import HostedSession, HostedSettings
from emulators.observation import Boot, Machine
from emulators.qemu.command_line import machine_argv, qemu_argv, stock_argv
from emulators.qemu.cpu_models import check_cpu_model as check_qemu_cpu_model
from emulators.qemu.program import INSTALL_QEMU, qemu_program
from emulators.qemu.target import kvm_conditions, kvm_variants
from emulators.standalone import IMAGE, SECOND, StandaloneBoot, standalone_qemu
from emulators.target import NESTED, Requirement, Session, Target

CPU = "host,vmx=on"
# Of the models with VMX that are newer than MODEL the one that hosts KVM of Linux 5.10 to 7.3 on Bochs 2.7 as well as
# on 3.0. corei3_cnl does so on 3.0 alone.
OTHER_MODEL = "broadwell_ult"
TRIAL_MIB = 64  # of the guest with which it is tried whether a CPU model hosts KVM


class KvmHosted(CpuModelChoice, Target):
    """The image under KVM, in an appliance that Bochs boots."""

    name = "kvm-hosted"
    implementation = "KVM"

    def __init__(
        self,
        kernel: str | None = None,
        host_bochs: str | None = None,
        host_cpu_model: str | None = None,
        qemu: str | None = None,
        kvm_param: str | None = None,
        cache: Path | None = None,
        cold: bool = False,
        exits: bool = False,
    ) -> None:
        """`kernel` is one that `emulators.hosted.appliance.kernel.fetch` takes, `host_bochs` the Bochs that hosts KVM,
        chosen apart from the reference's, None the quickest that can be had, and `qemu` the path of the QEMU in there,
        None the distribution's. `host_cpu_model` is the CPU of that Bochs; KVM's guest sees of it what KVM gives.
        `kvm_param` has parameters of KVM's modules, see emulators.hosted.module_parameters.
        `cold` is to boot Linux for each session, and not to restore it from a snapshot for each boot.
        `exits` is to record which VM exits L0 handles.

        Raises EmulatorError when `qemu` is no QEMU, ChoiceError for what is no module parameter.
        """
        self.cold = cold
        self.exits = exits
        self.wanted_kernel = kernel
        self.wanted_bochs = host_bochs
        self.model = host_cpu_model or MODEL
        self.chosen = host_cpu_model is not None  # by the user
        self.cache = cache or cache_folder()
        self.qemu = qemu_program(qemu)
        self._unfit: dict[str, HostingError] = {}  # shared with the same target on other CPU models; see HostedSettings
        self.parameters = module_parameters.asked(kvm_param)
        self._appliance: build.Appliance | None = None
        self._program: BochsProgram | None = None

    @property
    def shares_start(self) -> bool:
        return not self.warm

    @property
    def warm(self) -> bool:
        """Whether boots start from snapshots. Only known once the target is prepared."""
        saves = self._program is not None and self._program.saves_state
        return saves and not self.cold and all(shutil.which(tool) for tool in ("xdotool", "Xvfb"))

    @property
    def capabilities(self) -> frozenset[str]:
        return NESTED

    def requirements(self) -> list[Requirement]:
        tools = {
            "gcc": "gcc binutils",
            "dpkg-deb": "dpkg",
            "apt-get": "apt",
            "strip": "binutils",
            "lz4": "lz4",
            "ldd": "libc-bin",
        }
        return [
            *bochs_requirements(self.wanted_bochs, "sdl2"),
            self.qemu.requirement(),
            Requirement(
                "QEMU's firmware", all(path.exists() for path in initramfs.FIRMWARE.values()), "seabios", INSTALL_QEMU
            ),
            Requirement(
                "busybox, static", initramfs.BUSYBOX.exists(), str(initramfs.BUSYBOX), "apt-get install busybox-static"
            ),
            *(
                Requirement(tool, shutil.which(tool) is not None, "", f"apt-get install {get}")
                for tool, get in tools.items()
            ),
        ]

    def appliance(self, progress: Progress) -> build.Appliance:
        """The appliance of the kernel that was asked for, fetched and built when need be. Raises EmulatorError."""
        if self._appliance is None:
            fetched = fetch(self.wanted_kernel, self.cache, progress)
            qemu = Path(shutil.which(self.qemu.executable) or initramfs.QEMU)
            self._appliance = build.ensure(fetched, qemu, self.cache, progress)
        return self._appliance

    def program(self, progress: Progress) -> BochsProgram:
        """The Bochs that hosts KVM, fetched when need be. Raises EmulatorError."""
        if self._program is None:
            wanted = self.wanted_bochs
            self._program = program(wanted, self.cache, progress) if wanted else quickest(self.cache, progress)
        return self._program

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        """QEMU with the KVM of whatever host it is, or the appliance with the image in it, which starts QEMU on its
        own.
        """
        serial = f"{self.name}.serial"
        cpu = self.cpu_model(boot)
        quiet = ["-display", "none", "-no-reboot"]
        if not carry:
            argv = [*stock_argv(boot, "kvm", cpu), *quiet, "-serial", f"file:{serial}"]
            return standalone_qemu(argv, serial, kvm_conditions(needs))
        paths = {
            f"/cases/{name}": path for name, path in ((IMAGE, boot.image), (SECOND, boot.second)) if path is not None
        }
        image, second = (*paths, "")[:2]
        machine = machine_argv(boot, executable=initramfs.QEMU, accelerator="kvm", cpu=cpu, image=image, second=second)
        port = ["-chardev", f"{PORTS.com1},id=com1", "-serial", "chardev:com1"]
        contents = {name: path.read_bytes() for name, path in paths.items()}
        lines = [
            *(f"busybox truncate -s {len(data)} {name}" for name, data in contents.items()),
            f"{shlex.join([*machine, *quiet, *port, *initramfs.firmware_options()])} </dev/null >&3 2>&1",
        ]
        files = {name.rpartition("/")[2]: data.rstrip(b"\0") for name, data in contents.items()}
        files["run"] = ("\n".join(lines) + "\n").encode()
        return standalone_appliance(self.hosting(lambda line: None), files, boot.machine.memory_mib, serial)

    def cpu_model(self, boot: Boot) -> str:
        return boot.machine.cpu_models.get(self.name, CPU)

    def variants(self, machine: Machine) -> dict[str, Machine]:
        return kvm_variants(machine, self.name, CPU)

    def prepare(self, progress: Progress) -> None:
        """Fetch Bochs and kernel and build the appliance, unless the cache has them. Raises EmulatorError."""
        hosting = self.program(progress)
        if self.model != MODEL:
            check_cpu_model(hosting, self.model)
        self.appliance(progress)

    def check(self, machine: Machine) -> None:
        if model := machine.cpu_models.get(self.name):
            check_qemu_cpu_model(self.qemu, model)

    def identity(self) -> dict[str, str]:
        bochs = {f"hosting {key}": value for key, value in (self._program or installed()).identity().items()}
        known = self._appliance
        built = (
            {"kernel": known.kernel.release, "kernel package": known.kernel.package, "appliance": known.key}
            if known
            else {}
        )
        built |= {"kvm modules": known.kernel.kvm_sha256} if known and known.kernel.kvm else {}
        models = {"cpu model": CPU, "hosting cpu model": self.model, "kernel arch": "x86_64"}
        asked = {module_parameters.ASKED: " ".join(self.parameters)} if self.parameters else {}
        return {**self.qemu.identity(), **bochs, **built, "accelerator": "kvm", **models, **asked}

    def thorough(self) -> KvmHosted | None:
        """With cold starts, when this one's are warm."""
        return self._cold(self.model) if self.warm else None

    def other_host(self) -> KvmHosted:
        """With another CPU model of the same Bochs, cold: a snapshot is not worth making for a few boots."""
        other = self._cold(OTHER_MODEL if self.model != OTHER_MODEL else MODEL)
        other.chosen = True
        return other

    def host_cpu(self) -> HostCpu:
        return HostCpu(self.program, self.wanted_bochs, self.model, self.cache, chosen=self.chosen)

    def hosting_models(self, progress: Progress) -> list[str]:
        """The CPU models of the Bochs that hosts KVM, whether they can host it or not. Raises EmulatorError."""
        return cpu_models(self.program(progress))

    async def hosts(self, model: str, progress: Progress) -> str:
        """Why KVM cannot run a guest on this CPU model of the hosting Bochs; "" where it can. Takes half a minute."""
        hosting = Hosting(appliance=self.appliance(progress), program=self.program(progress), model=model)
        argv = qemu_argv(
            Boot(image=Path(DISK), image_sha256="", machine=Machine(memory_mib=TRIAL_MIB)),
            executable=initramfs.QEMU,
            accelerator="kvm",
            cpu=CPU,
            image=DISK,
            ports=PORTS,
        )
        shape = Shape(argv=(*argv, *initramfs.firmware_options()), disk_bytes=CYLINDER, guest_mib=TRIAL_MIB)
        try:
            await try_to_host(hosting, shape)
        except EmulatorError as error:
            return f"{error}"
        return ""

    def _cold(self, model: str) -> KvmHosted:
        """This target with that hosting model and cold starts."""
        other = copy.copy(self)
        other.cold, other.model = True, model
        return other

    def hosting(self, progress: Progress) -> Hosting:
        """What KVM runs in, fetched and built when need be. Raises EmulatorError."""
        return Hosting(
            appliance=self.appliance(progress),
            program=self.program(progress),
            model=self.model,
            traced=self.exits,
            parameters=self.parameters,
        )

    @contextlib.asynccontextmanager
    async def session(self, boots: Sequence[Boot], progress: Progress) -> AsyncIterator[Session]:
        hosting = await asyncio.to_thread(self.hosting, progress)
        settings = HostedSettings(
            target=self.name, identity=self.identity(), cpu=CPU, cache=self.cache, warm=self.warm, unfit=self._unfit
        )
        session = HostedSession(settings, hosting, boots, progress)
        try:
            yield session
        finally:
            await session.close()
