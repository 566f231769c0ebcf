"""`difftest debug`: a debugger at the beginning of a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from difftest.commands.options import Folders, takes_versions
from emulators.versions import Versions

if TYPE_CHECKING:
    from pathlib import Path

    from difftest.image.prepare import PreparedCase
    from emulators.bochs.target import Bochs
    from emulators.hosted.target import KvmHosted

BOCHS, KVM = SIDES = ("bochs", "kvm")
IN_BOCHS = """\
Bochs stops at {place:#x}, where {check} begins. Then, among others:
    s, s 10            one instruction, ten
    u /10              the next ten instructions
    r, creg, sreg      registers
    lb 0xADDRESS, c    break at a linear address, go on
    vmexitbp           break at each VM exit, from here on
    trace on           print each instruction that is executed
    info symbols       {symbols} symbols are loaded
    quit
"""
IN_GDB = """\
KVM stops at {place:#x}, where {check} begins, on QEMU's gdb stub: 127.0.0.1:{port}.
    gdb {words}
Then, among others: si, x/10i $pc, info registers, hbreak *0xADDRESS, continue. The image's code is 32-bit where it is
not in IA-32e mode: set architecture i386 disassembles it. A nested guest is not stopped by breakpoints of its own.
"""


@takes_versions(repeatable=False)
def debug(
    *,
    check: Annotated[str, typer.Argument(help="A check of a case that is built with the kit, as ID or CASE/ID.")],
    side: Annotated[str, typer.Option("--side", help="bochs: Bochs' debugger. kvm: gdb on hosted KVM's QEMU.")],
    versions: list[Versions],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    folders: Folders = None,
) -> None:
    """Boot a check and stop where it begins, in Bochs' debugger or in gdb on QEMU's stub, with the image's symbols. It
    prints the commands to go on with; what they are typed at is this terminal, or the input.
    """
    from typing import cast

    from difftest.errors import CaseError
    from difftest.export.subject import subject
    from difftest.tracing.boots import one_check
    from emulators.bochs.target import Bochs
    from emulators.host.files import cache_folder
    from emulators.hosted.target import KvmHosted
    from emulators.registry import REFERENCE, targets

    if side not in SIDES:
        raise CaseError(f"--side takes no {side}", hint=" or ".join(SIDES))
    prepared = one_check(subject(check, folders or [], cache_folder()))
    show = (lambda line: None) if quiet else (lambda line: typer.echo(line, err=True))
    every = targets(versions[0])
    found = every[REFERENCE if side == BOCHS else KvmHosted.name]
    target = found.on_cpu(prepared.emulated_cpu) if prepared.emulated_cpu else found
    target.prepare(show)
    if side == BOCHS:
        raise typer.Exit(_in_bochs(prepared, cast(Bochs, target)))
    raise typer.Exit(_in_gdb(prepared, cast(KvmHosted, target), quiet=quiet))


def _in_bochs(prepared: PreparedCase, target: Bochs) -> int:
    from difftest.image.symbols import ELF, symbols_of
    from difftest.tracing.boots import beginning
    from emulators.bochs.debugging import debug_in_bochs

    place, symbols = beginning(prepared), symbols_of(prepared.image.with_name(ELF))
    typer.echo(IN_BOCHS.format(place=place, check=prepared.abouts[0].check, symbols=len(symbols)))
    boot = prepared.boot()
    code = debug_in_bochs(target.program(lambda line: None), boot, target.cpu_model(boot), place, symbols)
    return 0 if code in (0, 1) else code  # Bochs 3 leaves with 1 when it is quit


def _in_gdb(prepared: PreparedCase, target: KvmHosted, *, quiet: bool) -> int:
    import asyncio
    import shlex
    import shutil
    import signal

    from difftest.errors import HostError
    from difftest.tracing.boots import beginning
    from emulators.host.scratch import scratch
    from emulators.hosted.debugging import gdb_stub

    if shutil.which("gdb") is None:
        raise HostError("gdb is missing", hint="apt-get install gdb")
    place = beginning(prepared)

    async def debugged(symbols: Path) -> int:
        async with gdb_stub(
            target, prepared.boot(), lambda line: None if quiet else typer.echo(line, err=True)
        ) as port:
            steps = [f"symbol-file {symbols}", f"target remote 127.0.0.1:{port}", f"hbreak *{place:#x}", "continue"]
            words = [word for step in steps for word in ("-ex", step)]
            typer.echo(IN_GDB.format(place=place, check=prepared.abouts[0].check, port=port, words=shlex.join(words)))
            gdb = await asyncio.create_subprocess_exec("gdb", "-q", "-nx", *words)
            return await gdb.wait()

    before = signal.signal(signal.SIGINT, lambda *_: None)  # it is gdb's to interrupt the guest
    try:
        with scratch("symbols") as folder:
            return asyncio.run(debugged(_wide(prepared, folder)))
    finally:
        signal.signal(signal.SIGINT, before)


def _wide(prepared: PreparedCase, folder: Path) -> Path:
    """The image's symbols as of a 64-bit program: gdb takes QEMU's registers for such a one alone."""
    from difftest.image.symbols import ELF
    from emulators.host.tools import ran

    wide = folder / "case.elf"
    ran(["objcopy", "-I", "elf32-i386", "-O", "elf64-x86-64", prepared.image.with_name(ELF), wide])
    return wide
