/* VM entry: one field is changed, and the entry runs L2, is refused, or fails. Checks begin with `entry_prepare`. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "entry.h"
#include "l2_modes.h"
#include "tally.h"
#include "vmx.h"

#define SDM_EXECUTION "VM-Execution Control Fields (Vol. 3, 27.2.1.1)"
#define SDM_EXIT_CONTROLS "VM-Exit Control Fields (Vol. 3, 27.2.1.2)"
#define SDM_ENTRY_CONTROLS "VM-Entry Control Fields (Vol. 3, 27.2.1.3)"
#define SDM_HOST_REGISTERS "Checks on Host Control Registers, MSRs, and SSP (Vol. 3, 27.2.2)"
#define SDM_HOST_SEGMENTS "Checks on Host Segment and Descriptor-Table Registers (Vol. 3, 27.2.3)"
#define SDM_ADDRESS_SPACE "Checks Related to Address-Space Size (Vol. 3, 27.2.4)"
#define SDM_GUEST_REGISTERS "Checks on Guest Control Registers, Debug Registers, and MSRs (Vol. 3, 27.3.1.1)"
#define SDM_GUEST_SEGMENTS "Checks on Guest Segment Registers (Vol. 3, 27.3.1.2)"
#define SDM_GUEST_TABLES "Checks on Guest Descriptor-Table Registers (Vol. 3, 27.3.1.3)"
#define SDM_GUEST_RIP "Checks on Guest RIP, RFLAGS, and SSP (Vol. 3, 27.3.1.4)"
#define SDM_GUEST_OTHER "Checks on Guest Non-Register State (Vol. 3, 27.3.1.5)"
#define SDM_GUEST_PDPTES "Checks on Guest Page-Directory-Pointer-Table Entries (Vol. 3, 27.3.1.6)"

/* What an entry comes to that fails for L2's state, with nothing in the exit qualification. */
#define GUEST_REFUSED ENTRY_FAILED(GUEST_STATE_INVALID, 0)
enum { BAD_PDPTE = 2, BAD_LINK_POINTER = 4 }; /* exit qualifications that say more */

/* Bit numbers `first` to `last`. */
#define BITS(first, last) ((~(u64)0 >> (63 - (last))) & (~(u64)0 << (first)))

/* In turn, change each of `bits` of a field: the entry must come to `required`. The field gets its value back. Where
   the entries must fail, one with that value must run L2. */
void sweep_bits(struct tally *tally, u32 field, u64 bits, u64 required);

/* Those of `bits` that a field keeps: some CPUs drop reserved bits of access rights in VMWRITE. */
u64 kept_bits(u32 field, u64 bits);

/* The field gets each of these values in turn, and then its own again. */
void sweep_values(struct tally *tally, u32 field, const u64 *values, u32 count, u64 required);
#define SWEEP_VALUES(tally, field, required, ...)                                                                \
    sweep_values(tally, field, (const u64[]){ __VA_ARGS__ }, sizeof((u64[]){ __VA_ARGS__ }) / sizeof(u64), required)

/* The bits of a physical address that this CPU does not have. */
u64 beyond_physical_addresses(void);

/* The bits that make a low address not canonical, each alone, on this CPU. */
u64 beyond_linear_addresses(void);
#define CANONICAL_HIGH 0xFFFF800000000000u

/* Bits of a control register that VMX operation fixes to another value than `value` has; `but` are excepted. */
u64 fixed_otherwise(u64 value, u32 fixed0, u32 fixed1, u64 but);

/* Whether IA32_PAT may have this byte. */
bool is_memory_type(u64 type);

/* L2 as it is without EPT and unrestricted guest: 32-bit paging. */
void without_ept(void);

/* L2 in IA-32e mode, in compatibility mode, under a 64-bit L1; `skip` where the CPU cannot. */
void in_ia32e_mode(void);
