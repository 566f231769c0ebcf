/* The nested guest: 32-bit, flat, with an IDT of its own whose handlers report every exception to L1 by VMCALL. */
#pragma once

#include "types.h"
#include "vmcs.h"

/* Everything that a VM exit says. */
struct vm_exit {
    bool failed_entry; /* VMLAUNCH itself failed; `instruction_error` says why */
    u32 instruction_error;
    u32 reason, qualification, instruction_length;
    u64 guest_physical_address;
    u32 guest_linear_address;
    u32 interruption_information, interruption_error_code;
    u32 cr0, cr3, cr4, rip, rflags;
    u64 pdpte[4];
    u32 eax; /* L2's, so that a VMCALL can say something */
    /* An exception that L2 took by itself, told by its handler's VMCALL. */
    bool exception;
    u32 vector, error_code, exception_rip;
};

/* A fresh VMCS: EPT identity map, unrestricted guest, L2 at `entry` in flat 32-bit code, CR0.PG=0, CR0 and CR4 all its own. */
void l2_prepare(const void *entry);

/* Enter L2 and come back with the first exit. */
struct vm_exit l2_run(void);

/* Report the fields that every check of an L2 exit shows; RIP as distance from `instruction`, the one under test. */
void l2_saw_exit(const struct vm_exit *exit, const void *instruction);
