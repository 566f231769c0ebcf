/* String I/O of L2: the instruction, its page, and the device at its port. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "l2.h"
#include "l2_code.h"
#include "port_devices.h"
#include "vmx.h"

#define BEFORE_EXIT "Architectural State Before a VM Exit (Vol. 3, 28.1); INS (Vol. 2)"
#define INS "INS (Vol. 2)"
#define OUTS "OUTS (Vol. 2)"
#define QUALIFICATION "Exit Qualification for EPT Violations (Vol. 3, 28.2.1)"
#define EPT_VIOLATIONS "EPT Violations (Vol. 3, 29.3.3.2)"

enum { FILL = 0x5A };

/* Three pages, of which the middle one is the target; all bytes are FILL after `string_io`. */
extern u8 pages[3][PAGE_SIZE];
#define target (pages[1])

/* A prepared L2, about to execute `code` with EDI and ESI at `data` and DX = `port`. */
void string_io(const struct l2_code *code, const void *data, u16 port);

/* The exit must be an EPT violation at `physical`, in accessing `linear`, where EPT allows `allowed`. `translated`: of
   the page itself, not of an entry of the page tables. `access` has bits of `violation_access`. */
struct violation_required {
    u64 physical;
    u32 linear, access, allowed, translated;
};
void must_violate_at(const struct vm_exit *exit, const struct l2_code *code, struct violation_required required);

/* The same, with ESI, EDI and ECX as they were: the instruction has done nothing. */
void must_have_done_nothing(const struct vm_exit *exit, const void *data, u32 count);

/* Give the page back to L2 and let it go on; and what must hold at the end. */
struct vm_exit resume_with(void *page);
void must_have_stored(const u8 *at, const void *expected, u32 bytes);
