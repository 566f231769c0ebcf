"""The runs that tests/data/captured is made of: what `difftest run` is called with, and the guests that it boots beside
the bundled cases.

Each guest is made in the folder that the command runs in. What it does wrong, it does only where CPUID reports a
hypervisor (leaf 1, ECX bit 31): under QEMU and not under Bochs.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.guests import (
    FLOOD,
    HALT,
    HANG,
    LEAVE,
    LINGER,
    RESET,
    SHOW,
    SHUT_DOWN,
    TELETYPE,
    TRIPLE_FAULT,
    UNLIKE,
    UNLIKE_DIGIT,
    WAIT_FOR_A_KEY,
    boot_sector,
    kernel,
)

Make = Callable[[Path], None]

DATA = "xorw %ax, %ax; movw %ax, %ds\n"  # the image's own segment
HYPERVISOR = "movl $1, %eax; cpuid; btl $31, %ecx\n"  # the carry flag: whether CPUID reports one
# Says GOOD at row 21 and a right last line, or BAD at row 20 and a wrong one.
JUDGE_ITSELF = f"""
    {DATA}
    movw $0xB800, %ax
    movw %ax, %es
    {HYPERVISOR}
    jc 5f
    movl $0x074F0747, %es:21 * 160          # "GO", "OD"
    movl $0x0744074F, %es:21 * 160 + 4
    jmp 6f
5:  movl $0x07410742, %es:20 * 160          # "BA", "D"
    movw $0x0744, %es:20 * 160 + 4
    movl $0x4E4F5257, message + 6           # "WRON", "G"
    movb $'G', message + 10
6:
"""
# The CPU's vendor into the beginning of the message.
SAY_VENDOR = f"{DATA} xorl %eax, %eax; cpuid; movl %ebx, message; movl %edx, message + 4; movl %ecx, message + 8\n"
FAIL = "movl $0x4C494146, message; 5:\n"  # the word instead of PASS, where the message begins with that
# In about half of the boots under QEMU, by the time stamp counter.
TOSS_A_COIN = f"{DATA} {HYPERVISOR} jnc 5f; rdtsc; btl $12, %eax; jnc 5f; {FAIL}"
# Bytes sent to COM1 one after the other, without a look at the transmitter.
IN_HASTE = "movw $0x3F8, %dx; movw $200, %cx; movb $'x', %al; 5: outb %al, %dx; loop 5b\n"
PLAIN_CHECKS = """
#include "check.h"
#include "cpu.h"

CHECK(before, "before", NEEDS_NOTHING, "", "A number is itself.")
{
    must("value", 1, 1);
}
%s
CHECK(behind, "behind", NEEDS_NOTHING, "", "Another number is itself, too.")
{
    must("value", 2, 2);
}
"""
HANGING = """
CHECK(spins, "spins", NEEDS_NOTHING, "", "A loop ends.")
{
    while (cpuid(1).ecx >> 31) {
    }
    must("value", 3, 3);
}

CHECK(halts, "halts", NEEDS_NOTHING, "", "A CPU that is not told to halt goes on.")
{
    if (cpuid(1).ecx >> 31)
        halt_for_good();
    must("value", 4, 4);
}

CHECK(spins_anywhere, "spins-anywhere", NEEDS_NOTHING, "", "An endless loop ends.")
{
    for (;;) {
    }
}
"""
# Goes on for a second or more under Bochs after what it gives up on.
PANICKING = """
CHECK(command, "interrupt-controller", NEEDS_NOTHING, "", "A command that the controller lacks is ignored.")
{
    out8(0x20, 0x01);
    must("value", 5, 5);
}

CHECK(lingers, "lingers", NEEDS_NOTHING, "", "A long computation ends.")
{
    for (volatile u32 left = 20000000; left != 0;)
        left = left - 1;
    must("value", 6, 6);
}
"""


def nothing(folder: Path) -> None:
    """For bundled cases."""


def image(name: str, message: bytes, ending: str, before: str = "") -> Make:
    """A bare boot sector, NAME.img."""

    def make(folder: Path) -> None:
        boot_sector(folder, message, ending, before=before).rename(folder / f"{name}.img")

    return make


def case(name: str, manifest: str, put: Callable[[Path], Path]) -> Make:
    """A case folder NAME of these further lines of a manifest and the file that `put` makes in it."""

    def make(folder: Path) -> None:
        (folder / name).mkdir()
        kind = "sources = ['{}']" if (file := put(folder / name)).suffix == ".c" else "image = '{}'"
        (folder / name / "case.toml").write_text(f"name = '{name}'\n{kind.format(file.name)}\n{manifest}\n")

    return make


def kit(name: str, checks: str) -> Make:
    """A case built with the kit, of a check at either end and these between them."""

    def put(folder: Path) -> Path:
        (folder / f"{name}.c").write_text(PLAIN_CHECKS % checks)
        return folder / f"{name}.c"

    return case(name, f"memory_mib = 64\nquiet_seconds = 3\n{KIT_END}", put)


def killer(folder: Path) -> None:
    """The case of tests/killer."""
    shutil.copytree(Path(__file__).parent / "killer", folder / "killer")


def sector(message: bytes, ending: str, before: str = "") -> Callable[[Path], Path]:
    return functools.partial(boot_sector, message=message, ending=ending, before=before)


def loaded_kernel(folder: Path) -> Path:
    """A multiboot kernel and its module."""
    (folder / "env.txt").write_bytes(b"A=1\n")
    return kernel(folder, UNLIKE)


LOADED = "quiet_seconds = 2\ncommand_line = 'one two=2'\nmodules = ['env.txt -v']\n"
HASTY = "quiet_seconds = 2"
KIT_END = "end = '^Halt: condition .*\\n'"
KNOWN = "[[known]]\ncheck = '{}'\nverdict = 'subject-wrong'\npattern = '.'\nreason = 'it was so once'\n"


class Scenario(NamedTuple):
    """`arguments` are those of `difftest run`. `commit` is of the code that runs it; "" is the code that is here.
    `runs` are the names of what several versions give, in their order.
    """

    arguments: str
    make: Make = nothing
    commit: str = ""
    runs: tuple[str, ...] = ()


ONCE = "--confirm none"
SCHEMA1_CODE = "2efd38d"  # the last that wrote runs of schema 1
SCENARIOS = {
    "agree": Scenario(f"ept-pdpte-load -k mapped -t kvm-hosted {ONCE}"),
    "kvm-wrong": Scenario("ept-pdpte-load -k not-present -t kvm-hosted --confirm all"),
    "shared": Scenario(f"pdpte -k P-09/wp -t kvm-hosted {ONCE} --kernel 6.1"),
    "shared-with-the-reference": Scenario(f"pdpte -k P-09/wp -t kvm-hosted {ONCE} --kernel 6.1 --bochs 3.0"),
    "exits": Scenario(f"pdpte -k P-09/wp -t kvm-hosted {ONCE} --exits --kernel 6.1"),
    "bochs-wrong": Scenario(f"nested-pdpte -k L2-19/am -t kvm-hosted {ONCE}"),
    "both-wrong": Scenario(f"cr-masks -k M-06 -t kvm-hosted {ONCE} --kernel 5.10"),
    "kernel-warning": Scenario(f"nested-pdpte -k L2-12 -t kvm-hosted {ONCE} --kernel 6.1"),
    "internal-error": Scenario(f"paging -k L1-08 -t kvm-hosted {ONCE} --kernel 5.10"),
    "kernels": Scenario(
        f"pdpte -k P-08/cd -t kvm-hosted {ONCE} --kernel 5.10 --kernel 6.1", runs=("older-kernel", "newer-kernel")
    ),
    "killer": Scenario(f"killer -t kvm-hosted,tcg {ONCE}", killer),
    "hang": Scenario(f"hang -t tcg {ONCE}", kit("hang", HANGING)),
    "panic": Scenario(f"panic -t tcg {ONCE}", kit("panic", PANICKING)),
    "flood": Scenario(f"flood.img -t tcg {ONCE}", image("flood", b"a word\n", FLOOD)),
    "chatter": Scenario(
        f"chatter.img -t tcg {ONCE} --timeout 6", image("chatter", b"still here\n", f"{LINGER} {FLOOD}")
    ),
    "silence": Scenario(f"silence -t tcg {ONCE}", case("silence", HASTY, sector(b"hello\n", HANG))),
    "power-off": Scenario(f"power-off -t tcg {ONCE}", case("power-off", HASTY, sector(b"good-bye\n", LEAVE))),
    "shutdown": Scenario(f"shutdown.img -t tcg {ONCE}", image("shutdown", b"off\n", SHUT_DOWN)),
    "reset": Scenario(f"reset.img -t tcg {ONCE}", image("reset", b"once more\n", RESET)),
    "triple-fault": Scenario(
        f"triple-fault -t kvm-hosted,tcg {ONCE}",
        case("triple-fault", "memory_mib = 64", sector(b"the last word\n", TRIPLE_FAULT)),
    ),
    "lost-serial": Scenario(
        f"lost-serial -t tcg {ONCE}", case("lost-serial", HASTY, sector(b"done\n", HALT, IN_HASTE))
    ),
    "no-vmx": Scenario(f"ept-pdpte-load -t tcg {ONCE}"),
    "no-kvm": Scenario(f"halt.img -t kvm {ONCE} --timeout 8", image("halt", b"done\n", HALT)),
    "no-feature": Scenario(f"pdpte -k P-13/smap -t kvm-hosted {ONCE}"),
    "suite": Scenario(
        f"suite -t tcg {ONCE}",
        case("suite", LOADED + KNOWN.format("third") + KNOWN.format("first (took 123456 cycles)"), loaded_kernel),
    ),
    "lines": Scenario(
        f"lines.img -t tcg {ONCE} --timeout 8",
        image("lines", b"PASS: only\nSUMMARY: 1 tests\n", HALT, f"{DATA} {HYPERVISOR} jnc 5f; {FAIL}"),
    ),
    "prompt": Scenario(
        f"prompt -t tcg {ONCE}", case("prompt", "end_screen = '^HELLO$'", sector(b"", WAIT_FOR_A_KEY, SHOW))
    ),
    "screen": Scenario(
        f"screen -t tcg {ONCE}", case("screen", HASTY, sector(b"", HALT, TELETYPE.replace("DIGIT", UNLIKE_DIGIT)))
    ),
    "vendor": Scenario(
        "vendor.img -t tcg --timeout 8", image("vendor", b"____________ is the vendor\n", HALT, SAY_VENDOR)
    ),
    "rows": Scenario(
        f"rows -t kvm-hosted,tcg {ONCE}",
        case(
            "rows",
            "memory_mib = 64\nend = '^Halt: .*\\n'\nright = '^GOOD$'\nwrong = '^BAD$'",
            sector(b"Halt: RIGHT\n", HALT, JUDGE_ITSELF),
        ),
    ),
    "flaky": Scenario(
        f"coin -t tcg {ONCE} --repeat 6", case("coin", HASTY, sector(b"PASS: coin\n", HALT, TOSS_A_COIN))
    ),
    "seed-of-schema-1": Scenario(f"ept-pdpte-load -t kvm-hosted {ONCE}", commit=SCHEMA1_CODE),
    "shared-of-schema-1": Scenario(
        f"pdpte -k P-09/wp -k 'P-03*' -t kvm-hosted {ONCE} --kernel 6.1", commit=SCHEMA1_CODE
    ),
}
