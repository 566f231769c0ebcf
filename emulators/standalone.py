"""A boot done with stock programs and a shell, without the tester: what a bundle's script is made of."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

IMAGE = "disk.img"  # the image's name beside the script
SECOND = "second.img"  # and a second disk's
STOCK_ROMS = ("$BXSHARE/BIOS-bochs-latest", "$BXSHARE/VGABIOS-lgpl-latest")  # Bochs knows where its share is
BOCHS = "command -v bochs-bin || command -v bochs"


class StandaloneBoot(msgspec.Struct, frozen=True, kw_only=True):
    """How to boot `disk.img` of the current folder by hand.

    `command` is run there by /bin/sh in the background until the guest is over or killed; the guest's serial bytes
    appear in the file `serial`. `needs` are shell conditions, each with the words to say where it does not hold.
    """

    command: str
    serial: str
    needs: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}


def unseen(log: str) -> list[str]:
    """The surroundings of a Bochs that nobody looks at: lines of configuration for `bochsrc()`."""
    return ["display_library: sdl2", f"log: {log}"]


def standalone_bochs(
    config: Sequence[str], serial: str, files: dict[str, bytes], rc: str = "bochsrc"
) -> StandaloneBoot:
    """Any Bochs with these lines of configuration: a build with the debugger continues at once.

    It draws into SDL's dummy driver, so that no display is needed.
    """
    find = f"bochs=$({BOCHS})"
    debugger = f'debugger=; "$bochs" --help 2>&1 | grep -q -- -rc && echo c > {rc}.go && debugger="-rc {rc}.go"'
    return StandaloneBoot(
        command=f'{find}; {debugger}; SDL_VIDEODRIVER=dummy exec "$bochs" -q -f {rc} $debugger',
        serial=serial,
        needs=[(BOCHS, "Bochs with its SDL2 display (Debian: bochs bochs-sdl bochsbios vgabios)")],
        files={rc: ("\n".join(config) + "\n").encode(), **files},
    )


def standalone_qemu(argv: Sequence[str], serial: str, needs: Sequence[tuple[str, str]]) -> StandaloneBoot:
    tools = (f"command -v {argv[0]}", "QEMU (Debian: qemu-system-x86)")
    return StandaloneBoot(command=f"exec {shlex.join(argv)}", serial=serial, needs=[tools, *needs])
