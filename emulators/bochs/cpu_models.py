"""The CPU models that Bochs emulates."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Self

from emulators.bochs.program import BochsProgram
from emulators.host import limits
from emulators.host.answers import Answer, cached_answer
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.files import cache_folder
from emulators.host.tools import ran


class CpuModelChoice:
    """A target on an emulated CPU of Bochs: `model` is the CPU's, `chosen` whether the user has named it."""

    model: str
    chosen: bool

    def on_cpu(self, model: str) -> Self:
        """This target with another CPU model, unless the user has chosen one."""
        if self.chosen or model == self.model:
            return self
        other = copy.copy(self)
        other.model = model
        return other


def cpu_models(bochs: BochsProgram) -> list[str]:
    """The names of the models that this Bochs has, oldest first; none when it does not say. Asked again when it has
    changed.
    """
    argv = [*bochs.argv, "--help", "cpu"]
    program = shutil.which(bochs.argv[-1])

    def ask() -> Answer:
        try:
            done = ran(argv, environment=bochs.environment, seconds=limits.SAYS_WHAT_IT_IS)
        except EmulatorError:
            return Answer("", [])
        _, _, listed = (done.stdout + done.stderr).decode(errors="replace").partition("Supported CPU models:")
        models = re.findall(r"^(\w+)$", listed, re.MULTILINE)
        return Answer("\n".join(models), [Path(program)] if program and models else [])

    return cached_answer(cache_folder(), "\0".join([str(program), *argv, "names"]), ask).split()


def check_cpu_model(bochs: BochsProgram, model: str) -> None:
    """Raises ChoiceError with the list when this Bochs has no such model."""
    models = cpu_models(bochs)
    if models and model not in models:
        raise ChoiceError(f"Bochs {bochs.version} has no CPU model {model}", hint=f"its models: {', '.join(models)}")
