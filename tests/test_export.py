"""Exports: an image with its command lines, a C source for kvm-unit-tests, and what an export is of."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from difftest.errors import CaseError
from difftest.export.image import image_archive
from difftest.export.kvm_unit_test import kvm_unit_test
from difftest.export.subject import subject
from difftest.image.check_code import body_of
from difftest.image.parameter_block import params_of
from difftest.image.symbols import ELF
from emulators.host.files import cache_folder
from emulators.registry import targets
from tests.guests import boot_sector

STANDIN = Path(__file__).parent / "standin"
STRICT = ["-std=gnu99", "-O1", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror", "-ffreestanding", "-fno-pic"]


def unpacked(archive: tuple[str, bytes], folder: Path) -> Path:
    name, data = archive
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data")
    return folder / name


def test_a_check_is_found_by_its_id_and_a_case_by_its_name(tmp_path: Path) -> None:
    whole = subject("ept-pdpte-load", [], cache_folder())
    assert whole.whole and [about.check for about in whole.abouts] == ["mapped", "not-present"]
    for name in ("ept-pdpte-load/not-present", "not-present"):
        one = subject(name, [], cache_folder())
        assert (one.case.name, [about.check for about in one.abouts]) == ("ept-pdpte-load", ["not-present"])
    with pytest.raises(CaseError, match="no check called nothing"):
        subject("ept-pdpte-load/nothing", [], cache_folder())


def test_an_image_goes_with_the_command_lines_of_stock_programs(tmp_path: Path) -> None:
    prepared = subject("ept-pdpte-load/not-present", [], cache_folder())
    folder = unpacked(image_archive(prepared, targets()), tmp_path)
    readme = (folder / "README").read_text()
    assert "not-present" in readme and "mapped" not in readme
    assert "qemu-system-x86_64" in readme and "-accel kvm" in readme and "tcg" not in readme, "TCG has no VMX"
    assert {path.name for path in folder.iterdir()} >= {"disk.img", "README", "bochsrc", "bochs.sh", "kvm.sh"}
    begins = body_of((folder / "disk.img").read_bytes(), "not-present")
    assert begins is not None and f"begins at {begins:#x} " in readme
    names = subprocess.run(
        ["readelf", "-sW", prepared.image.with_name(ELF)], capture_output=True, text=True, check=True
    )
    assert re.search(rf"\b0*{begins:x} .* check_not_present$", names.stdout, re.MULTILINE), "its function is there"
    assert body_of((folder / "disk.img").read_bytes(), "present") is None, "no check has that id"
    params = params_of((folder / "disk.img").read_bytes())
    assert not params.in_ram and params.selected[0] == 0b10, "by hand there is COM1 only"


@pytest.mark.parametrize("bits", ["-m32", "-m64"])
def test_a_source_for_kvm_unit_tests_compiles_and_holds_the_image(tmp_path: Path, bits: str) -> None:
    prepared = subject("ept-pdpte-load/not-present", [], cache_folder())
    name, text = kvm_unit_test(prepared)
    assert name == "difftest_ept_pdpte_load_not_present.c"
    (tmp_path / name).write_bytes(text)
    argv = ["gcc", bits, *STRICT, f"-I{STANDIN}", "-c", name, "-o", "test.o"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert prepared.image.read_bytes()[512:].rstrip(b"\0") in (tmp_path / "test.o").read_bytes()
    assert b"set_pg_with(EPT_NOTHING)" in text, "the check's own code is there for a reader"
    assert text.count(b"*/") == text.count(b"/*"), "no comment ends early"


def test_an_image_of_others_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    boot_sector(tmp_path / "mine", b"hello", "hlt")
    (tmp_path / "mine" / "case.toml").write_text("name = 'mine'\ntitle = 'mine'\nimage = 'guest.img'\n")
    with pytest.raises(CaseError, match="not built with the kit"):
        kvm_unit_test(subject("mine", [tmp_path], cache_folder()))


@pytest.mark.boots
def test_the_command_lines_of_an_exported_image_show_the_divergence(tmp_path: Path) -> None:
    """A 16-bit TSS in TR when IA-32e mode is entered: Bochs raises #GP, as the SDM has it, and TCG does not."""
    folder = unpacked(image_archive(subject("paging/L1-07", [], cache_folder()), targets()), tmp_path)
    assert said(folder, "bochs").startswith("difftest 1 check L1-07 PASS ")
    assert said(folder, "tcg").startswith("difftest 1 check L1-07 FAIL ")


def said(folder: Path, way: str) -> str:
    """The record that the image prints when it is booted by the script."""
    serial = folder / f"{way}.serial"
    with subprocess.Popen(["/bin/sh", f"{way}.sh"], cwd=folder, stdout=subprocess.DEVNULL) as booted:
        deadline = time.monotonic() + 100
        while not (serial.exists() and b"Halt:" in serial.read_bytes()):
            assert booted.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.2)
        booted.terminate()
    lines = serial.read_text(errors="replace").splitlines()
    return next(line for line in lines if line.startswith("difftest 1 check "))
