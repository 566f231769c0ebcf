"""Boot sectors that misbehave: each is one thing that a guest may do to who boots it, and the ways in which it may end.

Every one first prints "said" on COM1. Ends are those that any target may give, or, by target, what one alone may.
"""

from __future__ import annotations

from typing import NamedTuple

from emulators.observation import Ending

from .guests import CALL_DEBUGGER, FLOOD, HALT, LEAVE, RESET, SHUT_DOWN, TRIPLE_FAULT

Q, T, F, H = Ending.QUIET, Ending.TOTAL, Ending.FLOOD, Ending.HALTED
R, X, P, I = Ending.RESET, Ending.TRIPLE_FAULT, Ending.POWER_OFF, Ending.INTERNAL_ERROR  # noqa: E741
LOST = {Q, T, F, H, R, X, P, I}  # it runs wild: anything but an emulator that breaks


class Hostile(NamedTuple):
    """What follows the print, and how it may end."""

    code: str
    ends: set[Ending]


SPIN = "4: jmp 4b"
HOSTILE = {
    # Loops.
    "loops-with-interrupts-off": Hostile("cli; 4: jmp 4b", {Q}),
    "loops-and-counts-with-interrupts-off": Hostile("cli; 4: nop; incw %ax; jmp 4b", {Q}),
    "loops-and-clears-interrupts": Hostile("4: cli; jmp 4b", {Q}),
    "loops-with-interrupts-on": Hostile("sti; 4: jmp 4b", {Q}),
    "loops-and-toggles-interrupts": Hostile("4: sti; cli; jmp 4b", {Q}),
    "pauses": Hostile("cli; 4: pause; jmp 4b", {Q}),
    "asks-cpuid": Hostile("cli; 4: xorl %eax, %eax; cpuid; jmp 4b", {Q}),
    "reads-a-port": Hostile("cli; 4: inb $0x61, %al; jmp 4b", {Q}),
    "writes-a-port": Hostile("cli; 4: outb %al, $0x80; jmp 4b", {Q}),
    "copies-for-ever": Hostile("cli; 4: movw $0xFFFF, %cx; rep movsb (%si), %es:(%di); jmp 4b", LOST),
    "reads-the-time-stamp": Hostile("cli; 4: rdtsc; jmp 4b", {Q}),
    # Sleeps.
    "halts": Hostile(HALT, {H}),
    "halts-with-interrupts-on": Hostile("sti; 4: hlt; jmp 4b", {Q}),
    "halts-with-every-interrupt-masked": Hostile(
        "movb $0xFF, %al; outb %al, $0x21; outb %al, $0xA1; sti; 4: hlt; jmp 4b", {Q}
    ),
    "halts-in-a-storm-of-interrupts": Hostile(
        "movb $0x34, %al; outb %al, $0x43; movb $2, %al; outb %al, $0x40; xorb %al, %al; outb %al, $0x40;"
        "sti; 4: hlt; jmp 4b",
        {Q, T},
    ),
    "waits-for-a-key": Hostile("4: xorb %ah, %ah; int $0x16; jmp 4b", {Q}),
    # Leaves.
    "switches-off": Hostile(SHUT_DOWN, {P}),
    "leaves-by-a-port": Hostile(LEAVE, {H, P}),
    "resets-by-the-keyboard-controller": Hostile(RESET, {R}),
    "resets-by-pci": Hostile("movw $0xCF9, %dx; movb $6, %al; outb %al, %dx; 4: jmp 4b", {R}),
    "resets-by-port-92": Hostile("inb $0x92, %al; orb $1, %al; outb %al, $0x92; 4: jmp 4b", {R}),
    "faults-thrice": Hostile(TRIPLE_FAULT, {X}),
    "faults-thrice-in-protected-mode": Hostile(
        "cli; movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; int3; 4: jmp 4b", LOST
    ),
    "starts-the-bios-again": Hostile("ljmp $0xFFFF, $0", LOST),
    # Talks.
    "floods-com1": Hostile(FLOOD, {F, T}),
    "floods-port-e9": Hostile("4: movb $0x41, %al; outb %al, $0xE9; jmp 4b", {F, T}),
    "floods-port-e9-by-strings": Hostile("4: movw $0xE9, %dx; movw $0xFFFF, %cx; rep outsb; jmp 4b", {F, T}),
    "floods-the-screen": Hostile("4: movw $0x0E41, %ax; movw $7, %bx; int $0x10; jmp 4b", {Q, T}),
    "speaks-for-the-debugger": Hostile(
        '4: movw $word, %si; movw $9, %cx; movw $0xE9, %dx; rep outsb; jmp 4b; word: .ascii "<bochs:1>"', {F, T}
    ),
    "calls-the-debugger": Hostile(f"4: {CALL_DEBUGGER}; jmp 4b", {Q, T}),
    "calls-the-debugger-once": Hostile(f"{CALL_DEBUGGER}; cli; hlt", {H}),
    "half-a-shutdown": Hostile(
        '4: movw $7, %cx; movw $word, %si; movw $0x8900, %dx; rep outsb; jmp 4b; word: .ascii "Shutdow"', {Q, P}
    ),
    "breaks-its-uart": Hostile(
        "movw $0x3FC, %dx; movb $0x1F, %al; outb %al, %dx; movw $0x3FB, %dx; movb $0xFF, %al; outb %al, %dx;"
        "movw $0x3F8, %dx; 4: outb %al, %dx; jmp 4b",
        LOST,
    ),
    "asks-ports-that-are-not-there": Hostile(
        "cli; xorw %dx, %dx; movw $0x9999, %dx; 4: inl %dx, %eax; outl %eax, %dx; jmp 4b", {Q, F}
    ),
    # Destroys what it stands on.
    "clears-its-memory": Hostile(
        "cli; xorw %ax, %ax; movw %ax, %es; xorw %di, %di; movw $0xFFFF, %cx; rep stosb; 4: jmp 4b", LOST
    ),
    "clears-the-vectors": Hostile(
        "xorw %ax, %ax; movw %ax, %es; xorw %di, %di; movw $0x400, %cx; rep stosb; sti; 4: jmp 4b", LOST
    ),
    "overwrites-its-disk": Hostile(
        "movw $0x0301, %ax; movw $0x7C00, %bx; movw $1, %cx; movw $0x80, %dx; int $0x13; cli; hlt", {H}
    ),
    # Bochs fetches no instructions from there, and says so in a panic of its own.
    "jumps-into-the-screen": Hostile("ljmp $0xB800, $0", {*LOST, Ending.CRASH}),
    "jumps-into-nothing": Hostile("ljmp $0xC800, $0", LOST),
    "jumps-into-vectors": Hostile("ljmp $0, $0", LOST),
    "runs-in-the-upper-memory": Hostile(
        "cli; movw $0xA000, %ax; movw %ax, %es; movw $0xFEEB, %es:0; ljmp $0xA000, $0", {*LOST, Ending.CRASH}
    ),
    "wraps-its-stack": Hostile("movw $1, %sp; 4: pushl %eax; jmp 4b", LOST),
    "closes-a20": Hostile("inb $0x92, %al; andb $0xFD, %al; outb %al, $0x92; cli; 4: jmp 4b", {Q}),
    "switches-its-apic-off": Hostile("movl $0x1B, %ecx; xorl %eax, %eax; xorl %edx, %edx; wrmsr; cli; 4: jmp 4b", LOST),
    "writes-no-msr": Hostile("movl $0xDEADBEEF, %ecx; wrmsr; 4: jmp 4b", LOST),
    "calls-for-smm": Hostile("4: movb $0xF0, %al; outb %al, $0xB2; jmp 4b", LOST),
    # The screen.
    "shows-graphics": Hostile("movw $0x13, %ax; int $0x10; cli; 4: jmp 4b", {Q}),
    "shows-forty-columns": Hostile("movw $1, %ax; int $0x10; cli; hlt", {H}),
    "shows-a-large-picture": Hostile("movw $0x4F02, %ax; movw $0x118, %bx; int $0x10; cli; hlt", {H}),
    "switches-modes-for-ever": Hostile("4: movw $0x13, %ax; int $0x10; movw $3, %ax; int $0x10; jmp 4b", {Q, T}),
}
