"""Raw field values in words. The number stays; its name in the SDM is put beside it."""

from __future__ import annotations

import re

# SDM Vol. 3, "VMX Basic Exit Reasons" (appendix C). Bits 15:0 of the exit reason; bit 31 marks a failed VM entry.
EXIT_REASONS = {
    0: "exception or NMI", 1: "external interrupt", 2: "triple fault", 3: "INIT", 4: "SIPI", 5: "I/O SMI",
    6: "other SMI",
    7: "interrupt window", 8: "NMI window", 9: "task switch", 10: "CPUID", 11: "GETSEC", 12: "HLT", 13: "INVD",
    14: "INVLPG",
    15: "RDPMC", 16: "RDTSC", 17: "RSM", 18: "VMCALL", 19: "VMCLEAR", 20: "VMLAUNCH", 21: "VMPTRLD", 22: "VMPTRST",
    23: "VMREAD", 24: "VMRESUME", 25: "VMWRITE", 26: "VMXOFF", 27: "VMXON", 28: "control-register access", 29: "MOV DR",
    30: "I/O instruction", 31: "RDMSR", 32: "WRMSR", 33: "VM-entry failure: guest state",
    34: "VM-entry failure: MSR loading",
    36: "MWAIT", 37: "monitor trap flag", 39: "MONITOR", 40: "PAUSE", 41: "VM-entry failure: machine check",
    43: "TPR below threshold", 44: "APIC access", 45: "virtualized EOI", 46: "access to GDTR or IDTR",
    47: "access to LDTR or TR", 48: "EPT violation", 49: "EPT misconfiguration", 50: "INVEPT", 51: "RDTSCP",
    52: "preemption timer", 53: "INVVPID", 54: "WBINVD", 55: "XSETBV", 56: "APIC write", 57: "RDRAND", 58: "INVPCID",
    59: "VMFUNC", 60: "ENCLS", 61: "RDSEED", 62: "page-modification log full", 63: "XSAVES", 64: "XRSTORS",
}  # fmt: skip

# SDM Vol. 3, "Exception and Interrupt Vectors".
VECTORS = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
    12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 20: "#VE", 21: "#CP",
}  # fmt: skip


# SDM Vol. 3, "VM Instruction Error Numbers".
INSTRUCTION_ERRORS = {
    1: "VMCALL in VMX root operation", 2: "VMCLEAR with invalid address", 3: "VMCLEAR with VMXON pointer",
    4: "VMLAUNCH with non-clear VMCS", 5: "VMRESUME with non-launched VMCS", 6: "VMRESUME after VMXOFF",
    7: "VM entry with invalid control fields", 8: "VM entry with invalid host-state fields",
    9: "VMPTRLD with invalid address",
    10: "VMPTRLD with VMXON pointer", 11: "VMPTRLD with incorrect revision", 12: "VMREAD or VMWRITE of unsupported "
                                                                                 "component",
    13: "VMWRITE to read-only component", 15: "VMXON in VMX root operation", 26: "VM entry with events blocked by "
                                                                                 "MOV SS",
    28: "invalid operand to INVEPT or INVVPID",
}  # fmt: skip

# SDM Vol. 3, "Control Registers" and "Extended Feature Enable Register".
FLAGS = {
    "cr0": {
        0: "PE", 1: "MP", 2: "EM", 3: "TS", 4: "ET", 5: "NE", 16: "WP", 18: "AM", 29: "NW", 30: "CD", 31: "PG",
    },
    "cr4": {
        0: "VME", 1: "PVI", 2: "TSD", 3: "DE", 4: "PSE", 5: "PAE", 6: "MCE", 7: "PGE", 8: "PCE", 9: "OSFXSR",
        10: "OSXMMEXCPT", 11: "UMIP", 12: "LA57", 13: "VMXE", 14: "SMXE", 16: "FSGSBASE", 17: "PCIDE", 18: "OSXSAVE",
        19: "KL", 20: "SMEP", 21: "SMAP", 22: "PKE", 23: "CET", 24: "PKS",
    },
    "efer": {0: "SCE", 8: "LME", 10: "LMA", 11: "NXE"},
}  # fmt: skip


def meaning(field: str, value: str | None) -> str:
    """The words for a raw value, "48, EPT violation", or "" where there are none."""
    if value is None or not re.fullmatch(r"0x[0-9a-f]{1,16}", value):
        return ""
    number = int(value, 16)
    if field in FLAGS:
        names = [name for bit, name in FLAGS[field].items() if number >> bit & 1]
        return " ".join(reversed(names))
    if field == "vm_instruction_error" and number in INSTRUCTION_ERRORS:
        return f"{number}, {INSTRUCTION_ERRORS[number]}"
    if field == "vector" and number in VECTORS:
        return f"{number}, {VECTORS[number]}"
    if field == "exit_reason" and number & 0xFFFF in EXIT_REASONS:
        failed = ", VM entry failed" if number >> 31 & 1 else ""
        return f"{number & 0xFFFF}, {EXIT_REASONS[number & 0xFFFF]}{failed}"
    return ""


def spelled(field: str, value: str) -> str:
    """A value with its words: "0x30 (48, EPT violation)"."""
    words = meaning(field, value)
    return f"{value} ({words})" if words else value
