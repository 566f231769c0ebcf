/* The nested guest: 32-bit, flat, with an IDT of its own whose handlers report every exception to L1 by VMCALL. */
#pragma once

#include "types.h"
#include "vmcs.h"

/* What the VMCS does not hold. `vm_enter` in l2_entry.S knows this layout. */
struct general_registers {
    u32 eax, ebx, ecx, edx, esi, edi, ebp;
};

/* Loaded into L2 at every entry and stored back at every exit; all zero after `l2_prepare`. */
extern struct general_registers l2_registers;

/* Everything that a VM exit says; what the SDM does not define for it is 0, such as the PDPTEs without PAE paging. */
struct vm_exit {
    bool failed_entry; /* VMLAUNCH or VMRESUME did not enter L2: `instruction_error` says why, nothing below is valid */
    u32 instruction_error;
    u32 reason, qualification, instruction_length, instruction_information;
    u64 guest_physical_address;
    u32 guest_linear_address;
    u32 interruption_information, interruption_error_code;
    u32 idt_vectoring_information, idt_vectoring_error_code;
    u32 cr0, cr3, cr4, rsp, rip, rflags, interruptibility_state, activity_state;
    u64 pdpte[4];
    struct general_registers registers;
    /* An exception that L2 took: told by its handler's VMCALL, or an exit itself where the exception bitmap has its vector. */
    bool exception;
    u32 vector, error_code, exception_rip, exception_cr2;
};

/* A fresh VMCS: EPT identity map, unrestricted guest, L2 at `entry` in flat 32-bit code, CR0.PG=0, CR0 and CR4 all its own.
   Change what the check needs with `vmcs_write` and `ept_leaf` before `l2_run`. */
void l2_prepare(const void *entry);

/* Change a prepared L2: to CPL 3, or to real-address mode. The latter keeps the flat 32-bit segments, as code does that has
   just cleared CR0.PE; L2's IDT does not serve it, so that each exception is an exit. */
void l2_user_mode(void);
void l2_real_mode(void);

/* The same for L1: it is a 64-bit hypervisor until the next `l2_prepare`, as a guest needs it that enters IA-32e mode. False
   where the CPU cannot, and the check SKIPs. */
bool l2_under_64_bit_host(void);

/* Enter L2, or go on with it, and come back with the next exit. */
struct vm_exit l2_run(void);

/* Go on behind the instruction that exited. */
void l2_skip_instruction(const struct vm_exit *exit);

/* What to report of an EPT violation that the SDM requires, see "Exit Qualification for EPT Violations". */
enum violation_access { VIOLATION_READ = 1, VIOLATION_WRITE = 2, VIOLATION_FETCH = 4 };

/* The exit must be an EPT violation of the load of the PDPTEs at `cr3`. `allowed` has the bits of EPT_ALL that the map
   grants there. */
void must_violate_at_pdptes(const struct vm_exit *exit, u32 cr3, u32 allowed);

/* How far behind `instruction` L2 stands: at the exit, or where it took the exception that the exit tells of. */
u32 rip_offset(const struct vm_exit *exit, const void *instruction);

/* The exit must be an EPT misconfiguration met by that load. */
void must_misconfigure_at_pdptes(const struct vm_exit *exit, u32 cr3);

/* The exit must be an EPT violation of a page walk: of the read of the paging-structure entry at guest-physical `entry`, on
   a page that is not present in EPT, for the sake of `linear`. `access` has bits of `violation_access`. */
void must_violate_in_walk(const struct vm_exit *exit, u64 entry, u32 linear, u32 access);

/* The PDPTE fields must hold these four, as far as a VM exit saves them. */
void must_hold_pdptes(const struct vm_exit *exit, const u64 pdptes[4]);

/* The instruction at `instruction` faulted: by exit or by exception, RIP must point at it. */
void must_stop_at(const struct vm_exit *exit, const void *instruction);

/* Say whatever the exit holds that the SDM defines for it and that the check has not said; RIP as distance from
   `instruction`, the one under test. Call it last, in every check of an L2 exit. */
void saw_exit(const struct vm_exit *exit, const void *instruction);
