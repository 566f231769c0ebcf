/* What may come of a VM entry: L2 runs; a VMfail, before anything is loaded; or a failure while guest state is loaded,
   which comes back like a VM exit. L1 goes on after each of them, and so does the VMCS.

       entry_prepare();
       vmcs_write(GUEST_CR4, 0);
       must_fail_entry(GUEST_STATE_INVALID, 0);
*/
#pragma once

#include "types.h"

/* `l2_prepare` with an L2 that executes NOP, and then VMCALL. */
void entry_prepare(void);

/* Try it: the outcome as a number. 0 when L2 ran; a VM-instruction error or VM_FAIL_INVALID; the exit reason of a
   failed entry with its qualification above bit 32; ENTRY_OTHER_EXIT with the exit reason when L2 exited for
   something else. */
u64 entry_try(void);
enum { ENTRY_RAN = 0, ENTRY_CONTROLS_INVALID = 7, ENTRY_HOST_STATE_INVALID = 8 };
#define ENTRY_OTHER_EXIT 0x10000u
#define GUEST_STATE_INVALID 0x80000021u /* exit reasons of entries that fail while guest state is loaded */
#define MSR_LOADING_FAILED 0x80000022u
#define ENTRY_FAILED(reason, qualification) ((u64)(qualification) << 32 | (reason))

/* Try it once, with the outcome that the SDM requires: L2 runs; VMfail with this error number; or a failed entry with
   this exit reason and qualification, which leaves the guest state in the VMCS as it was. */
void must_enter(void);
void must_refuse_entry(u32 error);
void must_fail_entry(u32 reason, u32 qualification);
