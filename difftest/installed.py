"""Where the installed command starts.

A wheel has one top-level package, `difftest_x86`, with the folders of the repository as they are, so that neither
`difftest` nor `emulators` is a name in anybody's site-packages. They become importable here, for this process alone.
Nothing but the standard library is imported before.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from difftest.cli import main as command

    command()
