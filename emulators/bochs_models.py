"""The CPU models that Bochs emulates."""

from __future__ import annotations

import re
import subprocess

from emulators.target import EmulatorError

LIST_SECONDS = 20.0


def cpu_models() -> list[str]:
    """The names of the models that the installed Bochs has, oldest first; none when there is no Bochs."""
    try:
        done = subprocess.run(
            ["bochs-bin", "--help", "cpu"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    _, _, listed = done.stdout.partition("Supported CPU models:")
    return re.findall(r"^(\w+)$", listed, re.MULTILINE)


def check_cpu_model(model: str) -> None:
    """Raises EmulatorError with the list when the installed Bochs has no such model."""
    models = cpu_models()
    if models and model not in models:
        raise EmulatorError(f"Bochs has no CPU model {model}", hint=f"its models: {', '.join(models)}")
