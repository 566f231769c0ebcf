"""The CPU models that Bochs emulates."""

from __future__ import annotations

import re

from emulators.bochs.program import BochsProgram
from emulators.host import limits
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.tools import ran


def cpu_models(bochs: BochsProgram) -> list[str]:
    """The names of the models that this Bochs has, oldest first; none when it does not say."""
    try:
        done = ran([*bochs.argv, "--help", "cpu"], environment=bochs.environment, seconds=limits.SAYS_WHAT_IT_IS)
    except EmulatorError:
        return []
    _, _, listed = (done.stdout + done.stderr).decode(errors="replace").partition("Supported CPU models:")
    return re.findall(r"^(\w+)$", listed, re.MULTILINE)


def check_cpu_model(bochs: BochsProgram, model: str) -> None:
    """Raises ChoiceError with the list when this Bochs has no such model."""
    models = cpu_models(bochs)
    if models and model not in models:
        raise ChoiceError(f"Bochs {bochs.version} has no CPU model {model}", hint=f"its models: {', '.join(models)}")
