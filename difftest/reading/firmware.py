"""Telling an image's words on the text screen from the firmware's and the boot loader's."""

from __future__ import annotations

import re
from itertools import pairwise

from difftest.reading.screen_reading import ScreenReading
from difftest.text import visible

MOST_BLANK = 2  # blank rows within what was printed line by line; more of them, and its parts were put where they are
# What a PC's firmware, or the loader of a kernel, leaves as the last words on the screen of an image that prints
# nothing.
FIRMWARE_LINES = re.compile(
    r"Booting from .*|SeaBIOS .*|(Plex86/)?Bochs .*|ata\d .*|iPXE \(http.*|This VGA/VBE .*|(NO "
    r"Bochs|vbe|vgabios).*|\$Revision.*"
    r"|Please visit :|\. http.*|apmbios.*|Press F12 .*|Machine UUID .*|Options: .*|(No|not a) bootable d.*|Boot "
    r"failed.*"
    r"|FATAL: .*bootable.*|GRUB loading.*|Welcome to GRUB!|\d+MB medium detected|Waiting for device to detect medium.*"
    r"|CDROM boot failure.*|INT18: BOOT FAILURE"
    r"|\W*(BIOS-)?e820: .*",  # its memory map, as loaders list it
    re.IGNORECASE,
)
BOOTING = re.compile(r"Booting from ")


def printed_lines(screen: ScreenReading) -> list[str]:
    """The lines of an image that printed them below the firmware's words: how far down they are then depends on
    the firmware. None of an image that cleared the screen, or put its words where they are.
    """
    filled = [row for row, text in enumerate(screen.text) if text.strip()]
    # An image comes to speak when the firmware has said what it boots from. That may have left at the top.
    start = next((row for row in filled if BOOTING.match(screen.text[row])), filled[0] if filled else 0)
    if not filled or not is_firmware(screen.text[start]):
        return []
    below = [row for row in filled if row >= start]
    if any(lower - upper > MOST_BLANK + 1 for upper, lower in pairwise(below)):
        return []
    return [screen.text[row].strip() for row in below if not is_firmware(screen.text[row])]


def last_words(screen: ScreenReading) -> str:
    """The last line on the screen that is not the firmware's, or ""."""
    return visible(
        next((text.strip() for text in reversed(screen.text) if text.strip() and not is_firmware(text)), ""), 80
    )


def is_firmware(line: str) -> bool:
    return FIRMWARE_LINES.fullmatch(line.strip()) is not None
