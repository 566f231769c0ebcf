"""What the CPU said of itself, in words: VMX capability MSRs, held side by side. Intel SDM, Vol. 3, appendix "VMX
Capability Reporting Facility"; the names of the controls are those of the tables in the VMCS chapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PIN = {
    **{0: "external-interrupt exiting", 3: "NMI exiting", 5: "virtual NMIs", 6: "VMX-preemption timer"},
    7: "process posted interrupts",
}
PRIMARY = {
    **{
        2: "interrupt-window exiting",
        3: "use TSC offsetting",
        7: "HLT exiting",
        9: "INVLPG exiting",
        10: "MWAIT exiting",
    },
    **{11: "RDPMC exiting", 12: "RDTSC exiting", 15: "CR3-load exiting", 16: "CR3-store exiting"},
    **{17: "activate tertiary controls", 19: "CR8-load exiting", 20: "CR8-store exiting", 21: "use TPR shadow"},
    **{22: "NMI-window exiting", 23: "MOV-DR exiting", 24: "unconditional I/O exiting", 25: "use I/O bitmaps"},
    **{27: "monitor trap flag", 28: "use MSR bitmaps", 29: "MONITOR exiting", 30: "PAUSE exiting"},
    31: "activate secondary controls",
}
SECONDARY = {
    **{0: "virtualize APIC accesses", 1: "enable EPT", 2: "descriptor-table exiting", 3: "enable RDTSCP"},
    **{4: "virtualize x2APIC mode", 5: "enable VPID", 6: "WBINVD exiting", 7: "unrestricted guest"},
    **{
        8: "APIC-register virtualization",
        9: "virtual-interrupt delivery",
        10: "PAUSE-loop exiting",
        11: "RDRAND exiting",
    },
    **{12: "enable INVPCID", 13: "enable VM functions", 14: "VMCS shadowing", 15: "enable ENCLS exiting"},
    **{16: "RDSEED exiting", 17: "enable PML", 18: "EPT-violation #VE", 19: "conceal VMX from PT"},
    **{
        20: "enable XSAVES/XRSTORS",
        21: "PASID translation",
        22: "mode-based execute control for EPT",
        23: "sub-page write permissions for EPT",
    },
    **{24: "Intel PT uses guest physical addresses", 25: "use TSC scaling", 26: "enable user wait and pause"},
    **{27: "enable PCONFIG", 28: "enable ENCLV exiting", 30: "VMM bus-lock detection", 31: "instruction timeout"},
}
EXIT = {
    **{2: "save debug controls", 9: "host address-space size", 12: "load IA32_PERF_GLOBAL_CTRL"},
    **{15: "acknowledge interrupt on exit", 18: "save IA32_PAT", 19: "load IA32_PAT", 20: "save IA32_EFER"},
    **{21: "load IA32_EFER", 22: "save VMX-preemption timer value", 23: "clear IA32_BNDCFGS"},
    **{
        24: "conceal VMX from PT",
        25: "clear IA32_RTIT_CTL",
        26: "clear IA32_LBR_CTL",
        27: "clear UINV",
        28: "load CET state",
        29: "load PKRS",
    },
    **{30: "save IA32_PERF_GLOBAL_CTL", 31: "activate secondary controls"},
}
ENTRY = {
    **{2: "load debug controls", 9: "IA-32e mode guest", 10: "entry to SMM", 11: "deactivate dual-monitor treatment"},
    **{13: "load IA32_PERF_GLOBAL_CTRL", 14: "load IA32_PAT", 15: "load IA32_EFER", 16: "load IA32_BNDCFGS"},
    **{
        17: "conceal VMX from PT",
        18: "load IA32_RTIT_CTL",
        19: "load UINV",
        20: "load CET state",
        21: "load IA32_LBR_CTL",
        22: "load PKRS",
    },
}
EPT_VPID = {
    **{0: "execute-only translations", 6: "page-walk length 4", 7: "page-walk length 5", 8: "EPT uncacheable"},
    **{14: "EPT write-back", 16: "2-MByte EPT pages", 17: "1-GByte EPT pages", 20: "INVEPT"},
    **{21: "accessed and dirty flags for EPT", 22: "advanced VM-exit information for EPT violations"},
    **{23: "supervisor shadow-stack control", 25: "single-context INVEPT", 26: "all-context INVEPT", 32: "INVVPID"},
    **{40: "individual-address INVVPID", 41: "single-context INVVPID", 42: "all-context INVVPID"},
    43: "single-context-retaining-globals INVVPID",
}
MISC = {
    **{5: "VM exits store IA32_EFER.LMA", 6: "activity state HLT", 7: "activity state shutdown"},
    **{8: "activity state wait-for-SIPI", 14: "Intel PT in VMX operation", 15: "IA32_SMBASE in SMM"},
    **{28: "VMXOFF and SMIs", 29: "VMWRITE to any supported field", 30: "injection with instruction length 0"},
}
BASIC = {
    **{48: "32-bit addresses only", 49: "dual-monitor treatment", 54: "INS and OUTS reported", 55: "TRUE controls"},
    56: "hardware exceptions with any error code",
}


def _allowed(names: Mapping[int, str]) -> dict[int, str]:
    """Names of a control as bits of its capability MSR: what may be 1 is in the high half."""
    return {bit + 32: name for bit, name in names.items()}


BITS: dict[str, Mapping[int, str]] = {
    "ia32_vmx_basic": BASIC,
    "ia32_vmx_pinbased_ctls": _allowed(PIN),
    "ia32_vmx_procbased_ctls": _allowed(PRIMARY),
    "ia32_vmx_procbased_ctls2": _allowed(SECONDARY),
    "ia32_vmx_exit_ctls": _allowed(EXIT),
    "ia32_vmx_entry_ctls": _allowed(ENTRY),
    "ia32_vmx_true_pinbased_ctls": _allowed(PIN),
    "ia32_vmx_true_procbased_ctls": _allowed(PRIMARY),
    "ia32_vmx_true_exit_ctls": _allowed(EXIT),
    "ia32_vmx_true_entry_ctls": _allowed(ENTRY),
    "ia32_vmx_ept_vpid_cap": EPT_VPID,
    "ia32_vmx_misc": MISC,
}


def only_here(name: str, values: Sequence[str], index: int) -> str:
    """Which named bits of a capability are 1 in `values[index]` and not in every other value: "only here: INVEPT". Else
    "".
    """
    if name not in BITS or not all(re.fullmatch(r"(0x[0-9a-f]{1,16})?", value) for value in values):
        return ""
    numbers = [int(value or "0", 16) for value in values]
    others = [number for at, number in enumerate(numbers) if at != index and values[at]]
    if not values[index] or not others:
        return ""
    everywhere = -1
    for number in others:
        everywhere &= number
    extra = numbers[index] & ~everywhere
    names = [words for bit, words in BITS[name].items() if extra >> bit & 1]
    return f"only here: {', '.join(names)}" if names else ""
