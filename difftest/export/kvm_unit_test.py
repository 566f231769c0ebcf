"""Checks as a C source in the form of the tests in x86/ of kvm-unit-tests.

The stage that a check needs, its page tables, VMCS and handlers, is the kit's, which is 32-bit code without a library.
The source has it as bytes: main() copies them to where they were linked, leaves its own mode, runs them, comes back,
and reports what they left in memory. The check's own C code is beside them for a reader.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import jinja2

from difftest.errors import BuildError, CaseError
from difftest.export.image import archive_name
from difftest.image.check_code import BOOT_SECTOR, LOADED_AT
from difftest.image.parameter_block import params_of
from difftest.image.prepare import PreparedCase
from difftest.image.symbols import ELF, address_of
from difftest.text import visible
from emulators.ram_log import HEADER

TEMPLATE = Path(__file__).with_name("kvm_unit_test.c.jinja")
END = "halt_for_good"  # in halt.S
WIDTH = 100
LONGEST_SOURCE = 20_000  # of a check's C code that is shown


def kvm_unit_test(prepared: PreparedCase) -> tuple[str, bytes]:
    """The source's file name and its text. Raises CaseError for an image that was not built with the kit."""
    case = prepared.case
    if not case.manifest.sources:
        raise CaseError(f"{case.name} is not built with the kit", hint="--as image takes any image")
    image = prepared.image.read_bytes()
    try:
        params = params_of(image)
    except BuildError as error:
        raise CaseError(f"{case.name}: {error}", hint=error.hint) from error
    kit = image[BOOT_SECTOR:].rstrip(b"\0")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["comment"] = _comment
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        case=case,
        name=(name := _name(prepared)),
        abouts=prepared.abouts,
        code="\n".join(_code(case.folder / source, prepared) for source in case.manifest.sources).strip(),
        nested="vmx" in case.manifest.needs,
        loaded_at=LOADED_AT,
        ends_at=address_of(prepared.image.with_name(ELF), END),
        log_at=params.ram_log.address,
        log_end=params.ram_log.address + params.ram_log.most + HEADER.size,
        log_header=HEADER.size,
        size=len(kit),
        bytes=textwrap.fill(", ".join(map(str, kit)), WIDTH, break_long_words=False),
    )
    return f"{name}.c", text.encode()


def _name(prepared: PreparedCase) -> str:
    return re.sub(r"[^a-z0-9]+", "_", archive_name(prepared).lower()).strip("_")


def _comment(text: str) -> str:
    """Text within a comment of C."""
    return visible(text, LONGEST_SOURCE, lines=True).replace("*/", "* /").replace("/*", "/ *")


def _code(source: Path, prepared: PreparedCase) -> str:
    """The definitions of the checks in a source, where they are written out there."""
    text = source.read_text(errors="replace")
    wanted = {about.check for about in prepared.abouts} if not prepared.whole else set()
    found = re.finditer(r'^CHECK\(\w+,\s*"([^"]+)".*?^}$', text, re.MULTILINE | re.DOTALL)
    return "\n\n".join(match[0].replace("\t", "    ") for match in found if match[1] in wanted)
