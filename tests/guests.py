"""Boot sectors for tests, assembled on the spot: each does one thing that a guest may do to a tester."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Prints the bytes at `message` up to a 0xFF on COM1, as a driver should: waiting for the transmitter.
PRINT = """
    xorw %ax, %ax
    movw %ax, %ds
    movw $message, %si
1:  movw $0x3FD, %dx
2:  inb %dx, %al
    testb $0x20, %al
    jz 2b
    lodsb
    cmpb $0xFF, %al
    je 3f
    movw $0x3F8, %dx
    outb %al, %dx
    jmp 1b
3:
"""
HALT = "4: cli; hlt; jmp 4b"
HANG = "4: cli; jmp 4b"
RESET = "movb $0xFE, %al; outb %al, $0x64; 4: jmp 4b"
TRIPLE_FAULT = "lidt nothing; int3; nothing: .word 0; .long 0"
FLOOD = "xorw %ax, %ax; movw %ax, %ds; movw $message, %si; jmp 1b"
# Shows HELLO at the beginning of row 20, by writing text memory.
SHOW = """
    movw $0xB800, %ax
    movw %ax, %es
    movw $(20 * 160), %di
    movb $0x07, %ah
    movw $word, %si
5:  lodsb
    testb %al, %al
    jz 6f
    stosw
    jmp 5b
word: .asciz "HELLO"
6:
"""


def boot_sector(folder: Path, message: bytes, ending: str, *, before: str = "") -> Path:
    """A 512-byte image in `folder` that runs `before`, prints `message` and ends by `ending`."""
    data = ", ".join(str(byte) for byte in message + b"\xff")
    source = f".code16\n.globl _start\n_start: cld\n{before}{PRINT}{ending}\nmessage: .byte {data}\n.org 510\n.word 0xAA55\n"
    (folder / "guest.S").write_text(source)
    image = folder / "guest.img"
    for argv in (
        ["gcc", "-m32", "-c", "guest.S", "-o", "guest.o"],
        ["ld", "-m", "elf_i386", "-Ttext", "0x7C00", "--oformat", "binary", "-o", image.name, "guest.o"],
    ):
        subprocess.run(argv, cwd=folder, check=True)
    return image
