"""The CPU models that Bochs emulates."""

from __future__ import annotations

import os
import re
import subprocess

from emulators.bochs.program import BochsProgram
from emulators.host.errors import ChoiceError

LIST_SECONDS = 20.0


def cpu_models(bochs: BochsProgram) -> list[str]:
    """The names of the models that this Bochs has, oldest first; none when it does not say."""
    argv = [*bochs.argv, "--help", "cpu"]
    try:
        done = subprocess.run(
            argv, env={**os.environ, **bochs.environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=LIST_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    _, _, listed = done.stdout.partition("Supported CPU models:")
    return re.findall(r"^(\w+)$", listed, re.MULTILINE)


def check_cpu_model(bochs: BochsProgram, model: str) -> None:
    """Raises ChoiceError with the list when this Bochs has no such model."""
    models = cpu_models(bochs)
    if models and model not in models:
        raise ChoiceError(f"Bochs {bochs.version} has no CPU model {model}", hint=f"its models: {', '.join(models)}")
