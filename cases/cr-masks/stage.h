/* What the checks of masks and shadows share: an L2 without paging, and masks over its CR0 and CR4. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "cr_access.h"
#include "ept.h"
#include "l2.h"
#include "l2_code.h"
#include "vectors.h"
#include "vmx.h"

/* CR0 and CR4 of a prepared L2. */
#define L2_CR0 (CR0_PE | CR0_ET | CR0_NE)
#define L2_CR4 CR4_VMXE
#define CR4_RESERVED (1u << 15)
#define CR0_MODE_BITS (CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM) /* free to have either value at any time */

/* Sections of the SDM, Vol. 3, that most checks here rest on. */
#define SDM_EXITS "Instructions That Cause VM Exits Conditionally (Vol. 3, 26.1.3)"
#define SDM_CHANGES "Changes to Instruction Behavior in VMX Non-Root Operation (Vol. 3, 26.3)"
#define SDM_QUALIFICATION "Basic VM-Exit Information (Vol. 3, 28.2.1)"
#define SDM_PRIORITY "Relative Priority of Faults and VM Exits (Vol. 3, 26.1.1)"
#define SDM_EVENTS "Information for VM Exits Due to Vectored Events (Vol. 3, 28.2.2)"
#define SDM_RESTRICTIONS "Restrictions on VMX Operation (Vol. 3, 24.8)"

L2_CODE(mov_to_cr0, "movl %eax, %cr0");
L2_CODE(mov_from_cr0, "movl %cr0, %eax");
L2_CODE(mov_to_cr4, "movl %eax, %cr4");
L2_CODE(mov_from_cr4, "movl %cr4, %eax");

/* CR0 and CR4, for checks of both. */
struct control_register {
    enum vmcs_field mask, shadow, guest;
    u32 number, initial;
    const struct l2_code *mov_to, *mov_from;
};
static const struct control_register cr0 = { CR0_GUEST_HOST_MASK, CR0_READ_SHADOW, GUEST_CR0, 0, L2_CR0,
                                             &mov_to_cr0, &mov_from_cr0 };
static const struct control_register cr4 = { CR4_GUEST_HOST_MASK, CR4_READ_SHADOW, GUEST_CR4, 4, L2_CR4,
                                             &mov_to_cr4, &mov_from_cr4 };

/* Of the bits in `mask`, which the host owns, the guest sees those of `shadow`. */
static inline void own(const struct control_register *cr, u32 mask, u32 shadow)
{
    vmcs_write(cr->mask, mask);
    vmcs_write(cr->shadow, shadow);
}

/* What L1 owns of L2's CR0, and the CR0 that it gets back, for who reads the record. */
static inline void note_cr0(void)
{
    noted("cr0_mask", vmcs_read(CR0_GUEST_HOST_MASK));
    noted("cr0_shadow", vmcs_read(CR0_READ_SHADOW));
    noted("host_cr0", vmcs_read(HOST_CR0));
}

/* L2 runs an instruction with `value` in EAX. */
static inline struct vm_exit l2_try_with(const struct l2_code *code, u32 value)
{
    l2_registers.eax = value;
    return l2_try(code);
}
