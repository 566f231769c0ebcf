/* The stage of this family: an L2 with a window (l2_window.h) in one of the three paging modes, and sweeps over what
   EPT says of the window's page, or of the pages of its paging-structure entries. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "ept_exit.h"
#include "l2.h"
#include "l2_code.h"
#include "l2_modes.h"
#include "l2_window.h"
#include "tally.h"
#include "vmx.h"

#define EPT_TRANSLATION "EPT Translation Mechanism (Vol. 3, 29.3.2)"
#define EPT_MISCONFIGURATIONS "EPT Misconfigurations (Vol. 3, 29.3.3.1)"
#define EPT_VIOLATIONS "EPT Violations (Vol. 3, 29.3.3.2)"
#define EPT_PRIORITY "Prioritization of EPT Misconfigurations and EPT Violations (Vol. 3, 29.3.3.3)"
#define EPT_FLAGS "Accessed and Dirty Flags for EPT (Vol. 3, 29.3.5)"
#define EPT_MEMORY_TYPES "Memory Type Used for Translated Guest-Physical Addresses (Vol. 3, 29.3.7.2)"
#define EXIT_INFORMATION "Basic VM-Exit Information (Vol. 3, 28.2.1)"
#define EXIT_QUALIFICATION_TABLE "Exit Qualification for EPT Violations (Vol. 3, table in 28.2.1)"
#define INVALIDATION "Guidelines for Use of the INVEPT Instruction (Vol. 3, 29.4.3.4)"

/* Guest-physical addresses that nothing else uses: EPT translates them by a PDPTE, a PDE and a PTE of their own; and
   by a PML4E, too (no such address fits into an entry of 32-bit paging). */
#define OWN_PDPTE (1u << 30)
#define OWN_PML4E ((u64)1 << 39)

enum { SINGLE_CONTEXT = 1, ALL_CONTEXTS = 2 }; /* types of INVEPT */

/* A prepared L2 with the window in this mode, its page at the guest-physical address. */
void window_at(enum paging paging, u64 guest_physical);

/* One access, which must end like this, with the rest of the record. Nothing else may change: RIP is at the
   instruction. */
void access_must(enum l2_access access, struct ept_exit outcome);

/* The same as one turn of a sweep. L2's registers are fresh in each. */
void access_turn(struct tally *tally, u64 turn, enum l2_access access, struct ept_exit outcome);

/* A turn of a sweep that has an access in it: `number` above bit 3. */
static inline u64 turn_of(u64 number, enum l2_access access)
{
    return number << 4 | access;
}

#define EACH_ACCESS(access) enum l2_access access = L2_READ; access < L2_ACCESSES; access++

/* Change bits of an EPT entry, and flush; `ept_protect_at` the rights in the EPT PTE of a guest-physical address. */
void ept_edit(u64 *entry, u64 clear, u64 set);
void ept_protect_at(u64 guest_physical, u32 rights);

/* `skip`, unless EPT entries may allow fetches alone. */
void need_execute_only(void);

/* The combinations of rights. Whether these (bits of EPT_ALL) may be in an entry, but for a CPU that lacks execute-only
   ones. */
enum { RIGHTS = EPT_ALL + 1 };
static inline bool valid_rights(u32 rights)
{
    return rights & EPT_READ || !(rights & EPT_WRITE);
}
