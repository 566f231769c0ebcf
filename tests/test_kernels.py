"""Kernels from mirrors, packages and build trees: real apt, real packages, real signatures; nothing is booted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import emulators.host.apt
from emulators.host.errors import EmulatorError
from emulators.host.mirror import Mirror, archives, is_version
from emulators.hosted.appliance import kernel
from emulators.hosted.appliance.kernel_files import find, module_bytes
from emulators.hosted.appliance.quirks import known_trouble

from . import mirror as fake

DEB822 = """
Types: deb
URIs: https://mirror.example.org/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://security.example.org/debian-security
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://packages.example.com/tool
Suites: trixie
Components: main
"""
ONE_LINE = """
# deb http://off.example.org/debian bookworm main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb [arch=amd64] http://apt.example.com/ bookworm main
deb http://ftp.example.org/debian/ bookworm main non-free
deb-src http://src.example.org/debian/ bookworm main
deb http://ftp.example.org/debian-security bookworm-security/updates main
"""


def silent(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake.MirrorServer]:
    mirror = fake.MirrorServer(tmp_path_factory.mktemp("mirror"))
    stale = fake.deb(
        mirror.folder, "linux-image-cloud-amd64", "6.1.20-1", {}, "linux-image-6.1.0-7-cloud-amd64 (= 6.1.20-1)"
    )
    mirror.suite("bookworm", [fake.old_layout(mirror.folder, "6.1.0-7-cloud-amd64", "6.1.20-1"), stale])
    without_modules = fake.split_layout(mirror.folder, "6.19.1+deb13-cloud-amd64", "6.19.1-1")[:2]  # cannot be had
    mirror.suite(
        "trixie", [*fake.split_layout(mirror.folder, "6.12.5+deb13-cloud-amd64", "6.12.5-1"), *without_modules]
    )
    yield mirror
    mirror.close()


@pytest.fixture(autouse=True)
def few_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulators.host.mirror.SUITES", ("bullseye", "bookworm", "bookworm-security", "trixie", "sid"))


@pytest.fixture
def served(made: fake.MirrorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.MirrorServer]:
    with made.serve(monkeypatch):
        yield made


@pytest.mark.parametrize(
    ("sources", "main", "security"),
    [
        ({"deb822": DEB822}, "https://mirror.example.org/debian/", "http://security.example.org/debian-security/"),
        ({"one_line": ONE_LINE}, "http://ftp.example.org/debian/", "http://ftp.example.org/debian-security/"),
    ],
    ids=["deb822", "one-line"],
)
def test_the_mirror_is_what_the_hosts_apt_uses(
    tmp_path: Path, sources: dict[str, str], main: str, security: str
) -> None:
    found = archives(fake.apt_of(tmp_path, **sources))
    assert (found.main, found.security) == (main, security)


def test_a_host_without_debian_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="no source of Debian's own suites"):
        archives(fake.apt_of(tmp_path, one_line="deb http://packages.example.com/tool nodistro main\n"))


def test_both_package_layouts_are_found_in_any_suite(served: fake.MirrorServer, tmp_path: Path) -> None:
    host = sorted(path.name for path in (served.folder / "host").rglob("*"))
    old = kernel.fetch("6.1", tmp_path, silent)
    assert (old.release, old.package) == ("6.1.0-7-cloud-amd64", "linux-image-6.1.0-7-cloud-amd64 6.1.20-1")
    assert [path.name for path in old.modules] == ["irqbypass.ko", "kvm.ko", "kvm-intel.ko"]
    new = kernel.fetch("6.12", tmp_path, silent)
    assert new.release == "6.12.5+deb13-cloud-amd64"
    assert [path.name for path in new.modules] == ["kvm.ko.xz", "kvm-intel.ko.xz"]
    assert module_bytes(new.modules[0]) == fake.module(new.release)
    assert kernel.fetch("6.1.0-7", tmp_path, silent) == old, "a release names a kernel as well as a version does"
    assert sorted(path.name for path in (served.folder / "host").rglob("*")) == host, "the host's apt stays as it was"
    mirror = Mirror(tmp_path, silent)
    assert [package.version for package in kernel.available(mirror)] == ["6.1.20-1", "6.12.5-1"], (
        "no meta package among them"
    )
    assert mirror.problems["sid"] == mirror.problems["bullseye"] == "not on this mirror"
    assert {package.version for package in kernel.cached(tmp_path)} == {"6.1.20-1", "6.12.5-1"}


def test_a_damaged_kernel_is_fetched_again(served: fake.MirrorServer, tmp_path: Path) -> None:
    first = kernel.fetch("6.1", tmp_path, silent)
    first.vmlinuz.write_bytes(first.vmlinuz.read_bytes()[:100])
    said: list[str] = []
    again = kernel.fetch("6.1", tmp_path, said.append)
    assert again == first and again.vmlinuz.read_bytes() == fake.bzimage(first.release)
    assert any("is damaged" in line for line in said), said


def test_an_unknown_kernel_is_refused_with_those_that_there_are(served: fake.MirrorServer, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=r"no kernel 6\.2") as told:
        kernel.fetch("6.2", tmp_path, silent)
    assert told.value.hint == "there are: 6.1.20-1, 6.12.5-1"
    assert "not on this mirror" in told.value.evidence
    assert not (tmp_path / "kernels").exists()


def test_lists_that_were_changed_on_their_way_are_not_believed(made: fake.MirrorServer, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, made.serve(monkeypatch):
        lists = made.root / "dists/trixie/main/binary-amd64/Packages"
        right = lists.read_bytes()
        lists.write_bytes(right.replace(b"6.12.5-1", b"6.12.6-1"))
        mirror = Mirror(tmp_path, silent)
        versions = [package.version for package in kernel.available(mirror)]
        lists.write_bytes(right)
    assert versions == ["6.1.20-1"]
    assert "trixie" in mirror.problems


def test_a_suite_signed_by_another_key_is_not_believed(
    served: fake.MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulators.host.apt, "KEYRINGS", (Path("/usr/share/keyrings/debian-archive-keyring.gpg"),))
    mirror = Mirror(tmp_path, silent)
    assert kernel.available(mirror) == []
    assert "NO_PUBKEY" in mirror.troubles() or "not signed" in mirror.troubles()


def test_a_mirror_that_is_down_is_waited_for_once_and_the_cache_will_do(
    made: fake.MirrorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made.serve(monkeypatch):
        before = kernel.fetch("6.1", tmp_path, silent)
    monkeypatch.setattr("emulators.host.mirror.FRESH_SECONDS", -1.0)
    mirror = Mirror(tmp_path, silent)
    assert len(kernel.available(mirror)) == 2, "older lists are looked into"
    assert "older lists are used" in mirror.problems["bookworm"]
    assert kernel.fetch("6.1", tmp_path, silent) == before
    with pytest.raises(EmulatorError, match="apt-get failed") as told:
        kernel.fetch("6.12", tmp_path, silent)
    assert "Could not connect" in told.value.evidence or "Failed to fetch" in told.value.evidence
    with pytest.raises(EmulatorError, match=r"no kernel 6\.1") as told:
        kernel.fetch("6.1", tmp_path / "other", silent)
    assert "Could not connect" in told.value.evidence
    left = [path.name for folder in (tmp_path, tmp_path / "other") for path in (folder / "kernels").glob(".fetch-*")]
    assert left == []


@pytest.mark.parametrize(
    ("version", "wanted", "meant"),
    [
        ("6.1.176-1", "6.1", True),
        ("6.12.5-1", "6.1", False),
        ("6.1.176-1", "6.1.17", False),
        ("6.1.176-1", "6.1.176", True),
        ("6.1.176-1", "6.1.176-1", True),
        ("7.3~rc7-1~exp1", "7.3", True),
        ("3.0+dfsg-1", "3.0", True),
        ("6.1.176-1", "", True),
    ],
)
def test_a_version_is_cut_between_numbers(version: str, wanted: str, meant: bool) -> None:
    assert is_version(version, wanted) is meant


def test_debs_of_the_user(tmp_path: Path) -> None:
    one = fake.old_layout(tmp_path, "5.10.0-1-amd64", "5.10.1-1")
    found = kernel.fetch(str(one), tmp_path / "cache", silent)
    assert (found.release, found.package) == ("5.10.0-1-amd64", "linux-image-5.10.0-1-amd64 5.10.1-1")
    folder = tmp_path / "debs"
    folder.mkdir()
    for part in fake.split_layout(tmp_path, "7.2.0-amd64", "7.2-1"):
        part.rename(folder / part.name)
    assert kernel.fetch(str(folder), tmp_path / "cache", silent).release == "7.2.0-amd64"
    assert not list((tmp_path / "cache/kernels").glob(".making-*"))


def test_debs_that_will_not_do_leave_nothing_behind(tmp_path: Path) -> None:
    release = "6.1.0-9-amd64"
    no_kvm = fake.deb(tmp_path, f"linux-image-{release}", "1", {f"boot/vmlinuz-{release}": fake.bzimage(release)})
    no_kernel = fake.deb(tmp_path, "bochs", "1", {"usr/bin/bochs-bin": b""})
    broken = tmp_path / "linux-image-broken.deb"
    broken.write_bytes(no_kvm.read_bytes()[:300])
    for deb, words in ((no_kvm, "no kvm-intel module"), (no_kernel, "no kernel image"), (broken, "no Debian package")):
        with pytest.raises(EmulatorError, match=words):
            kernel.fetch(str(deb), tmp_path / "cache", silent)
    with pytest.raises(EmulatorError, match="no such file"):
        kernel.fetch(str(tmp_path / "gone.deb"), tmp_path / "cache", silent)
    left = [path.name for path in (tmp_path / "cache/kernels").iterdir()]
    assert all(name.startswith(".lock-") for name in left), left


def build_tree(folder: Path, *, modules: str = "6.9.0-mine", config: str = "CONFIG_KVM_INTEL=m\n") -> Path:
    files = {"arch/x86/boot/bzImage": fake.bzimage("6.9.0-mine"), ".config": config.encode()}
    for name in ("arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko", "virt/lib/irqbypass.ko") if modules else ():
        files[name] = fake.module(modules)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_build_tree_is_used_where_it_lies(tmp_path: Path) -> None:
    tree = build_tree(tmp_path / "linux")
    found = kernel.fetch(str(tree), tmp_path / "cache", silent)
    assert found.release == "6.9.0-mine" and found.modules == (tree / "virt/lib/irqbypass.ko",)
    assert [path.name for path in found.kvm] == ["kvm.ko", "kvm-intel.ko"], "KVM comes apart from the rest"
    by_image = kernel.fetch(str(tree / "arch/x86/boot/bzImage"), tmp_path / "cache", silent)
    assert (by_image.modules, by_image.kvm) == (found.modules, found.kvm)
    (tree / "arch/x86/kvm/kvm.ko").write_bytes(fake.module("6.9.0-mine") + b"patched")
    rebuilt = kernel.fetch(str(tree), tmp_path / "cache", silent)
    assert rebuilt.sha256 == found.sha256 and rebuilt.kvm_sha256 != found.kvm_sha256, "another KVM in the same Linux"
    (tree / "virt/lib/irqbypass.ko").write_bytes(fake.module("6.9.0-mine") + b"patched")
    assert kernel.fetch(str(tree), tmp_path / "cache", silent).sha256 != found.sha256, "another Linux"


def test_a_bzimage_beside_its_installed_modules(tmp_path: Path) -> None:
    build_tree(tmp_path / "linux")
    folder = tmp_path / "mine"
    kvm = folder / "lib/modules/6.9.0-mine/kernel/arch/x86/kvm"
    kvm.mkdir(parents=True)
    for name in ("kvm.ko", "kvm-intel.ko"):
        (kvm / name).write_bytes(fake.module("6.9.0-mine"))
    (folder / "bzImage").write_bytes(fake.bzimage("6.9.0-mine"))
    assert [path.name for path in find(folder, "mine").modules] == ["kvm.ko", "kvm-intel.ko"]
    (folder / "boot").mkdir()
    assert kernel.fetch(str(folder / "bzImage"), tmp_path / "cache", silent).vmlinuz == folder / "bzImage"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"modules": "6.9.0-older"}, "kvm.ko was built for 6.9.0-older|irqbypass.ko was built for 6.9.0-older"),
        ({"modules": ""}, "no kvm-intel module"),
    ],
)
def test_a_build_tree_that_does_not_fit_together_is_refused(tmp_path: Path, tree: dict[str, str], words: str) -> None:
    with pytest.raises(EmulatorError, match=words):
        find(build_tree(tmp_path, **tree), "mine")


def kvm_in(folder: Path, release: str, *names: str) -> Path:
    """A folder in which KVM alone was built."""
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(fake.module(release) + b"rebuilt")
    return folder


def test_kvm_alone_goes_over_the_distributions_kernel_of_its_release(served: fake.MirrorServer, tmp_path: Path) -> None:
    whole = kernel.fetch("6.1.0-7", tmp_path / "cache", silent)
    folder = kvm_in(tmp_path / "kvm", "6.1.0-7-cloud-amd64", "kvm.ko", "kvm-intel.ko")
    found = kernel.fetch(str(folder), tmp_path / "cache", silent)
    assert found.vmlinuz == whole.vmlinuz and found.release == whole.release
    assert found.modules == whole.modules[:1], "irqbypass is the kernel's"
    assert found.kvm == (folder / "kvm.ko", folder / "kvm-intel.ko")
    assert found.sha256 != whole.sha256
    assert str(folder) in found.package and whole.package in found.package, "the identity says which KVM it is"


def test_kvm_alone_of_a_kernel_that_nobody_has_is_refused(served: fake.MirrorServer, tmp_path: Path) -> None:
    folder = kvm_in(tmp_path / "kvm", "6.9.0-mine", "kvm-intel.ko")
    with pytest.raises(EmulatorError, match=r"KVM's modules alone, built for 6\.9\.0-mine"):
        kernel.fetch(str(folder), tmp_path / "cache", silent)
    (folder / "kvm.ko").write_bytes(fake.module("6.1.0-7-cloud-amd64"))
    with pytest.raises(EmulatorError, match=r"6\.1\.0-7-cloud-amd64, 6\.9\.0-mine: they must all"):
        kernel.fetch(str(folder), tmp_path / "cache", silent)


def test_a_module_that_the_kernel_does_not_load_is_refused(served: fake.MirrorServer, tmp_path: Path) -> None:
    folder = kvm_in(tmp_path / "kvm", "6.12.5+deb13-cloud-amd64", "kvm-intel.ko", "irqbypass.ko")
    with pytest.raises(EmulatorError, match="no module irqbypass"):
        kernel.fetch(str(folder), tmp_path / "cache", silent)


def test_kvm_may_be_built_in(tmp_path: Path) -> None:
    assert find(build_tree(tmp_path, modules="", config="CONFIG_KVM=y\nCONFIG_KVM_INTEL=y\n"), "mine").modules == ()


def test_what_does_not_come_up_together_is_known() -> None:
    assert "XSAVE" in known_trouble("7.3.4+deb13-cloud-amd64", "2.7+dfsg-4", "corei7_skylake_x")
    assert known_trouble("7.3.4+deb13-cloud-amd64", "2.7+dfsg-4", "corei7_haswell_4770") == ""
    assert known_trouble("6.12.5", "2.7+dfsg-4", "corei7_skylake_x") == ""
    assert "hpet" in known_trouble("6.1.0-50-cloud-amd64", "3.1+dfsg-1", "corei7_haswell_4770")
