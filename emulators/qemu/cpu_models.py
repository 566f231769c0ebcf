"""The CPU models that a QEMU has."""

from __future__ import annotations

import difflib
import re
import shutil
from pathlib import Path

from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.files import cache_folder
from emulators.host.tools import ran
from emulators.qemu.program import QemuProgram

NEAR = 5  # names that are shown


def cpu_models(qemu: QemuProgram) -> list[str]:
    """The names of the models, in QEMU's order; none when it does not say. Asked again when the program has changed."""
    program = shutil.which(qemu.executable)

    def ask() -> Answer:
        try:
            done = ran([qemu.executable, "-cpu", "help"], seconds=limits.SAYS_WHAT_IT_IS)
        except EmulatorError:
            return Answer("", [])
        models = re.findall(r"^x86 (\S+)", done.stdout.decode(errors="replace"), re.MULTILINE)
        return Answer("\n".join(models), [Path(program)] if program and models else [])

    return cached_answer(cache_folder(), f"{program}\0-cpu help\0names", ask).split()


def check_cpu_model(qemu: QemuProgram, model: str) -> None:
    """Raises ChoiceError with near names when this QEMU has no such model; `model` may have features after a comma."""
    name, models = model.partition(",")[0], cpu_models(qemu)
    if models and name not in models:
        near = difflib.get_close_matches(name, models, NEAR, 0.3) or models
        raise ChoiceError(f"QEMU {qemu.version} has no CPU model {name}", hint=f"such as: {', '.join(near[:NEAR])}")
