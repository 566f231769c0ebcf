/* The nested guest: 32-bit, flat, with an IDT of its own whose handlers report every exception to L1 by VMCALL. */
#pragma once

#include "l2_registers.h"
#include "types.h"
#include "vmcs.h"

/* Loaded into L2 at every entry and stored back at every exit; all zero after `l2_prepare`. */
extern struct general_registers l2_registers;

/* Everything that a VM exit reports; what the SDM does not define for it is 0, such as the PDPTEs without PAE
   paging. */
struct vm_exit {
    bool failed_entry;     /* a VMfail of VMLAUNCH or VMRESUME: nothing below is valid */
    u32 instruction_error; /* its outcome: vmx_instructions.h */
    u32 reason, instruction_length, instruction_information;
    u64 qualification, guest_physical_address, guest_linear_address;
    u32 interruption_information, interruption_error_code;
    u32 idt_vectoring_information, idt_vectoring_error_code;
    u64 cr0, cr3, cr4, rsp, rip, rflags, pending_debug_exceptions; /* under a 32-bit L1 their low halves */
    u32 interruptibility_state, activity_state;
    u64 pdpte[4];
    struct general_registers registers;
    /* An exception that L2 took: its handler reported it by VMCALL, or the exception bitmap made it the exit. */
    bool exception;
    u32 vector, error_code;
    u64 exception_rip, exception_cr2;
};

/* Clear the VMCS and fill it in: EPT identity map, unrestricted guest, L2 at `entry` in flat 32-bit code with
   interrupts off, CR0.PG=0, no bit of CR0 and CR4 in the guest/host masks. HLT exits. Change what the check needs with
   `vmcs_write` and `ept_leaf` before `l2_run`. */
void l2_prepare(const void *entry);

/* Change a prepared L2: to CPL 3, or to real-address mode. The latter keeps the flat 32-bit segments, as code does that
   has just cleared CR0.PE. L2's IDT is none of real-address mode, so that each exception is an exit. */
void l2_user_mode(void);
void l2_real_mode(void);

/* Enter L2, or resume it, and return its next exit. The second is for long sweeps: it reads no more than the exit
   reason, the exit qualification, the two addresses, RIP and an exception, and the rest is 0. */
struct vm_exit l2_run(void);
struct vm_exit l2_run_briefly(void);

/* Let L2 resume after the instruction that exited. */
void l2_skip_instruction(const struct vm_exit *exit);

/* Access bits of an EPT violation's exit qualification (SDM, "Exit Qualification for EPT Violations"). */
enum violation_access { VIOLATION_READ = 1, VIOLATION_WRITE = 2, VIOLATION_FETCH = 4 };

/* The exit must be an EPT violation of the load of the PDPTEs at `cr3`, where the map allows `allowed` (bits of
   EPT_ALL). */
void must_violate_at_pdptes(const struct vm_exit *exit, u32 cr3, u32 allowed);

/* The exit must be an EPT misconfiguration that this load meets. */
void must_misconfigure_at_pdptes(const struct vm_exit *exit, u32 cr3);

/* The distance from `instruction` to where L2 stopped: at the exit, or at the exception that the exit reports. */
u64 rip_offset(const struct vm_exit *exit, const void *instruction);

/* The exit must be an EPT violation of a page walk: of the read of the paging-structure entry at guest-physical
   `entry`, on a page that is not present in EPT, in translating `linear`. `access` has bits of `violation_access`. */
void must_violate_in_walk(const struct vm_exit *exit, u64 entry, u32 linear, u32 access);

/* The PDPTE fields must hold these four, as far as a VM exit saves them. */
void must_hold_pdptes(const struct vm_exit *exit, const u64 pdptes[4]);

/* The instruction at `instruction` faulted: by exit or by exception, RIP must point at it. */
void must_stop_at(const struct vm_exit *exit, const void *instruction);

/* Record whatever the SDM defines for the exit and the check has not recorded yet; RIP as distance from `instruction`,
   the one under test. Call it last, in every check of an L2 exit. */
void saw_exit(const struct vm_exit *exit, const void *instruction);
