/* VMCS fields and exit reasons by the SDM's names. */
#pragma once

#include "types.h"
#include "vmcs_fields.h"

/* The parts of a field's encoding. The lowest bit chooses the high half of a 64-bit field. */
enum field_width { FIELD_16, FIELD_64, FIELD_32, FIELD_NATURAL };
enum field_type { FIELD_CONTROL, FIELD_EXIT, FIELD_GUEST, FIELD_HOST };
#define FIELD_ENCODING(width, type, index) ((width) << 13 | (type) << 10 | (index) << 1)
#define FIELD_WIDTH(field) ((enum field_width)((field) >> 13 & 3))
#define FIELD_TYPE(field) ((enum field_type)((field) >> 10 & 3))

#define VMCS_FIELD_NAME(name, width, type, index) name = FIELD_ENCODING(FIELD_##width, FIELD_##type, index),
enum vmcs_field { VMCS_FIELDS(VMCS_FIELD_NAME) };

/* Segment registers follow each other in every group of fields: ES, CS, SS, DS, FS, GS. */
enum { SEGMENTS = 6, SEGMENT_CS = 1, FIELD_STEP = 2 };

/* Basic exit reasons (SDM Vol. 3, appendix "VMX Basic Exit Reasons"). */
enum exit_reason {
    EXIT_EXCEPTION_OR_NMI = 0,
    EXIT_EXTERNAL_INTERRUPT = 1,
    EXIT_TRIPLE_FAULT = 2,
    EXIT_INIT = 3,
    EXIT_SIPI = 4,
    EXIT_IO_SMI = 5,
    EXIT_OTHER_SMI = 6,
    EXIT_INTERRUPT_WINDOW = 7,
    EXIT_NMI_WINDOW = 8,
    EXIT_TASK_SWITCH = 9,
    EXIT_CPUID = 10,
    EXIT_GETSEC = 11,
    EXIT_HLT = 12,
    EXIT_INVD = 13,
    EXIT_INVLPG = 14,
    EXIT_RDPMC = 15,
    EXIT_RDTSC = 16,
    EXIT_RSM = 17,
    EXIT_VMCALL = 18,
    EXIT_VMCLEAR = 19,
    EXIT_VMLAUNCH = 20,
    EXIT_VMPTRLD = 21,
    EXIT_VMPTRST = 22,
    EXIT_VMREAD = 23,
    EXIT_VMRESUME = 24,
    EXIT_VMWRITE = 25,
    EXIT_VMXOFF = 26,
    EXIT_VMXON = 27,
    EXIT_CONTROL_REGISTER_ACCESS = 28,
    EXIT_MOV_DR = 29,
    EXIT_IO_INSTRUCTION = 30,
    EXIT_RDMSR = 31,
    EXIT_WRMSR = 32,
    EXIT_ENTRY_FAILED_GUEST_STATE = 33,
    EXIT_ENTRY_FAILED_MSR_LOADING = 34,
    EXIT_MWAIT = 36,
    EXIT_MONITOR_TRAP_FLAG = 37,
    EXIT_MONITOR = 39,
    EXIT_PAUSE = 40,
    EXIT_ENTRY_FAILED_MACHINE_CHECK = 41,
    EXIT_TPR_BELOW_THRESHOLD = 43,
    EXIT_APIC_ACCESS = 44,
    EXIT_VIRTUALIZED_EOI = 45,
    EXIT_ACCESS_TO_GDTR_OR_IDTR = 46,
    EXIT_ACCESS_TO_LDTR_OR_TR = 47,
    EXIT_EPT_VIOLATION = 48,
    EXIT_EPT_MISCONFIGURATION = 49,
    EXIT_INVEPT = 50,
    EXIT_RDTSCP = 51,
    EXIT_PREEMPTION_TIMER = 52,
    EXIT_INVVPID = 53,
    EXIT_WBINVD = 54,
    EXIT_XSETBV = 55,
    EXIT_APIC_WRITE = 56,
    EXIT_RDRAND = 57,
    EXIT_INVPCID = 58,
    EXIT_VMFUNC = 59,
    EXIT_ENCLS = 60,
    EXIT_RDSEED = 61,
    EXIT_PML_FULL = 62,
    EXIT_XSAVES = 63,
    EXIT_XRSTORS = 64,
    EXIT_PCONFIG = 65,
    EXIT_SPP_EVENT = 66,
    EXIT_UMWAIT = 67,
    EXIT_TPAUSE = 68,
    EXIT_LOADIWKEY = 69,
    EXIT_ENCLV = 70,
    EXIT_ENQCMD_PASID = 72,
    EXIT_ENQCMDS_PASID = 73,
    EXIT_BUS_LOCK = 74,
    EXIT_INSTRUCTION_TIMEOUT = 75,
    EXIT_SEAMCALL = 76,
    EXIT_TDCALL = 77,
    EXIT_RDMSRLIST = 78,
    EXIT_WRMSRLIST = 79,
};

/* A VM entry that fails during or after loading guest state comes back as an exit with this bit beside the reason (SDM,
   "VM-Entry Failures During or After Loading Guest State"). */
#define ENTRY_FAILURE (1u << 31)

/* Of the current VMCS. A 64-bit field has its high half at +1. While L1 is a 64-bit hypervisor, `vmcs_read64` and
   `vmcs_write64` reach all bits of a natural-width field, too; in 32-bit code such a field has 32. */
u32 vmcs_read(u32 field);
u64 vmcs_read64(u32 field);
void vmcs_write(u32 field, u32 value);
void vmcs_write64(u32 field, u64 value);

/* The first field that one of these two writes was refused for since `vmcs_fresh`, or 0. */
u32 vmcs_refused_field(void);

/* Clear the VMCS and make it current, with all controls and the host state filled in. Guest state, the EPT pointer and
   HOST_RSP are the caller's. HLT exits. */
void vmcs_fresh(void);

/* Fill in the host state: L1 as it is now, with the kit's way back from a VM exit. */
void vmcs_write_host_state(void);

/* Set or clear bits of one of the current VMCS's control fields; `skip(absent)` where the CPU cannot. */
void vmcs_set_controls(u32 field, u32 bits, const char *absent);
void vmcs_clear_controls(u32 field, u32 bits, const char *absent);

/* What such a field may hold: the bits that must be 1 in the low half, those that may be in the high half (SDM,
   "Algorithms for Determining VMX Capabilities"). */
u64 vmcs_allowed_controls(u32 field);

/* Pin-based controls. */
#define EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define NMI_EXITING (1u << 3)
#define VIRTUAL_NMIS (1u << 5)
#define PREEMPTION_TIMER (1u << 6)
#define PROCESS_POSTED_INTERRUPTS (1u << 7)

/* Primary processor-based controls. */
#define INTERRUPT_WINDOW_EXITING (1u << 2)
#define USE_TSC_OFFSETTING (1u << 3)
#define HLT_EXITING (1u << 7)
#define INVLPG_EXITING (1u << 9)
#define MWAIT_EXITING (1u << 10)
#define RDPMC_EXITING (1u << 11)
#define RDTSC_EXITING (1u << 12)
#define CR3_LOAD_EXITING (1u << 15)
#define CR3_STORE_EXITING (1u << 16)
#define CR8_LOAD_EXITING (1u << 19)
#define CR8_STORE_EXITING (1u << 20)
#define USE_TPR_SHADOW (1u << 21)
#define NMI_WINDOW_EXITING (1u << 22)
#define MOV_DR_EXITING (1u << 23)
#define UNCONDITIONAL_IO_EXITING (1u << 24)
#define USE_IO_BITMAPS (1u << 25)
#define MONITOR_TRAP_FLAG (1u << 27)
#define USE_MSR_BITMAPS (1u << 28)
#define MONITOR_EXITING (1u << 29)
#define PAUSE_EXITING (1u << 30)
#define ACTIVATE_SECONDARY_CONTROLS (1u << 31)

/* Secondary processor-based controls. `vmcs_fresh` sets ENABLE_EPT and UNRESTRICTED_GUEST. */
#define VIRTUALIZE_APIC_ACCESSES (1u << 0)
#define ENABLE_EPT (1u << 1)
#define DESCRIPTOR_TABLE_EXITING (1u << 2)
#define ENABLE_RDTSCP (1u << 3)
#define VIRTUALIZE_X2APIC_MODE (1u << 4)
#define ENABLE_VPID (1u << 5)
#define WBINVD_EXITING (1u << 6)
#define UNRESTRICTED_GUEST (1u << 7)
#define APIC_REGISTER_VIRTUALIZATION (1u << 8)
#define VIRTUAL_INTERRUPT_DELIVERY (1u << 9)
#define PAUSE_LOOP_EXITING (1u << 10)
#define RDRAND_EXITING (1u << 11)
#define ENABLE_INVPCID (1u << 12)
#define ENABLE_VM_FUNCTIONS (1u << 13)
#define VMCS_SHADOWING (1u << 14)
#define RDSEED_EXITING (1u << 16)
#define ENABLE_PML (1u << 17)
#define EPT_VIOLATION_VE (1u << 18)
#define ENABLE_XSAVES (1u << 20)
#define MODE_BASED_EXECUTE_CONTROL (1u << 22)
#define USE_TSC_SCALING (1u << 25)

/* VM-exit controls. */
#define SAVE_DEBUG_CONTROLS (1u << 2)
#define HOST_ADDRESS_SPACE_SIZE (1u << 9)
#define EXIT_LOADS_IA32_PERF_GLOBAL_CTRL (1u << 12)
#define ACKNOWLEDGE_INTERRUPT (1u << 15)
#define SAVE_IA32_PAT (1u << 18)
#define EXIT_LOADS_IA32_PAT (1u << 19)
#define SAVE_IA32_EFER (1u << 20)
#define EXIT_LOADS_IA32_EFER (1u << 21)
#define SAVE_PREEMPTION_TIMER (1u << 22)

/* VM-entry controls. */
#define LOAD_DEBUG_CONTROLS (1u << 2)
#define IA32E_MODE_GUEST (1u << 9)
#define ENTRY_TO_SMM (1u << 10)
#define DEACTIVATE_DUAL_MONITOR (1u << 11)
#define LOAD_IA32_PERF_GLOBAL_CTRL (1u << 13)
#define LOAD_IA32_PAT (1u << 14)
#define LOAD_IA32_EFER (1u << 15)
#define LOAD_IA32_BNDCFGS (1u << 16)
#define LOAD_CET_STATE (1u << 20)
