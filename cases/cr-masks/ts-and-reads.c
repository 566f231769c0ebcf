/* M-14 and M-15: CLTS, and what reads of CR0 and CR4 give. */
#include "stage.h"
#include "sweep.h"

L2_CODE(clts, "clts");
L2_CODE(smsw_32, "smsw %eax");
L2_CODE(smsw_16, "smsw %ax");
L2_CODE(smsw_memory, "smsw (%ebx)");

/* CLTS with TS=1, TS masked or not, and its shadow. */
static struct vm_exit clear_ts(u32 mask, u32 shadow)
{
    l2_prepare(clts.start);
    vmcs_write(GUEST_CR0, L2_CR0 | CR0_TS);
    own(&cr0, mask, shadow);
    return l2_try(&clts);
}

CHECK(clts_00, "M-14/mask-0-shadow-0", NEEDS_L2, SDM_CHANGES,
      "Control: CLTS clears TS when TS is not masked and its shadow is 0")
{
    struct vm_exit exit = clear_ts(0, 0);
    must_execute(&exit, &clts);
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(clts_01, "M-14/mask-0-shadow-1", NEEDS_L2, SDM_CHANGES,
      "CLTS clears TS when TS is not masked and its shadow is 1")
{
    struct vm_exit exit = clear_ts(0, CR0_TS);
    must_execute(&exit, &clts);
    must("cr0", exit.cr0, L2_CR0);
}

L2_CODE(clts_fninit, "clts; fninit");

CHECK(clts_10, "M-14/mask-1-shadow-0", NEEDS_L2, SDM_CHANGES,
      "CLTS executes and leaves TS set when TS is masked with shadow 0, as #NM of the next FNINIT shows")
{
    struct l2_code fninit = { clts_fninit.start + (clts.end - clts.start), clts_fninit.end };
    l2_prepare(clts_fninit.start);
    vmcs_write(GUEST_CR0, L2_CR0 | CR0_TS);
    own(&cr0, CR0_TS, 0);
    struct vm_exit exit = l2_try(&clts_fninit);
    must_take_exception(&exit, &fninit, VECTOR_NM, 0);
}

CHECK(clts_11, "M-14/mask-1-shadow-1", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "CLTS exits and leaves TS set when TS is masked with shadow 1")
{
    struct vm_exit exit = clear_ts(CR0_TS, CR0_TS);
    must_exit_on(&exit, &clts, CLTS_ACCESS);
    must("cr0", exit.cr0, L2_CR0 | CR0_TS);
}

CHECK(clts_11_clear, "M-14/ts-clear", NEEDS_L2, SDM_EXITS,
      "CLTS exits when TS is masked with shadow 1 although TS is clear")
{
    l2_prepare(clts.start);
    own(&cr0, CR0_TS, CR0_TS);
    struct vm_exit exit = l2_try(&clts);
    must_exit_on(&exit, &clts, CLTS_ACCESS);
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(clts_other_bits, "M-14/other-bits", NEEDS_L2, SDM_EXITS,
      "CLTS clears TS when all other bits of CR0 are masked with shadow 1")
{
    struct vm_exit exit = clear_ts(~CR0_TS, ~CR0_TS);
    must_execute(&exit, &clts);
    must("cr0", exit.cr0, L2_CR0);
}

/* Masks and shadows so that each combination of mask, shadow and register is there in some bit. */
static const struct {
    u32 mask, shadow;
} overlays[] = {
    { 0, 0xFFFFFFFF },
    { 0xFFFFFFFF, 0 },
    { 0xFFFFFFFF, 0xFFFFFFFF },
    { 0xFFFFFFFF, 0x12345678 },
    { 0xAAAAAAAA, 0x0F0F0F0F },
    { 0x55555555, 0xF0F0F0F0 },
};
#define EACH_OVERLAY ((1u << ARRAY_SIZE(overlays)) - 1)
#define REAL_CR0 (L2_CR0 | CR0_MP | CR0_WP)
#define REAL_CR4 (L2_CR4 | CR4_TSD | CR4_PAE)

/* What is read, in the bits of `seen`, must be the shadow where the mask is 1 and the register where it is 0. */
static void reads_merge(const struct control_register *cr, const struct l2_code *code, u32 real, u32 seen)
{
    struct sweep sweep = { 0 };
    l2_prepare(code->start);
    vmcs_write(cr->guest, real);
    for (u32 turn = 0; turn < ARRAY_SIZE(overlays); turn++) {
        u32 mask = overlays[turn].mask, merged = (real & ~mask) | (overlays[turn].shadow & mask);
        own(cr, mask, overlays[turn].shadow);
        struct vm_exit exit = l2_try_with(code, 0x5EED0000);
        bool right = executed(&exit, code) && !((exit.registers.eax ^ merged) & seen);
        if (!right && !sweep.wrong)
            noted("first_wrong_eax", exit.registers.eax);
        sweep_turn(&sweep, turn, right, &exit, code);
    }
    must_all(&sweep, EACH_OVERLAY);
}

CHECK(mov_cr0, "M-15/mov-from-cr0", NEEDS_L2, SDM_CHANGES,
      "MOV from CR0 reads the shadow where the mask is 1 and CR0 where it is 0, and does not exit")
{
    reads_merge(&cr0, &mov_from_cr0, REAL_CR0, 0xFFFFFFFF);
}

CHECK(mov_cr4, "M-15/mov-from-cr4", NEEDS_L2, SDM_CHANGES,
      "MOV from CR4 reads the shadow where the mask is 1 and CR4 where it is 0, and does not exit")
{
    reads_merge(&cr4, &mov_from_cr4, REAL_CR4, 0xFFFFFFFF);
}

CHECK(smsw_32_bits, "M-15/smsw-32-bit", NEEDS_L2, SDM_CHANGES "; SMSW (Vol. 2)",
      "SMSW to a 32-bit register reads the shadow where the mask is 1 and CR0 where it is 0, in bits 15:0")
{
    reads_merge(&cr0, &smsw_32, REAL_CR0, 0xFFFF);
}

CHECK(smsw_16_bits, "M-15/smsw-16-bit", NEEDS_L2, SDM_CHANGES "; SMSW (Vol. 2)",
      "SMSW to a 16-bit register reads the shadow where the mask is 1 and CR0 where it is 0")
{
    reads_merge(&cr0, &smsw_16, REAL_CR0, 0xFFFF);
}

static u32 stored[2];

/* SMSW to memory, with half of CR0 masked. */
static void smsw_stores(void)
{
    stored[0] = 0x5EED5EED;
    l2_registers.ebx = address_of(stored);
    own(&cr0, 0xAAAAAAAA, 0x0F0F0F0F);
    struct vm_exit exit = l2_try(&smsw_memory);
    must_execute(&exit, &smsw_memory);
    must("stored", stored[0], 0x5EED0000 | ((L2_CR0 & 0x5555) | (0x0F0F & 0xAAAA)));
}

CHECK(smsw_to_memory, "M-15/smsw-memory", NEEDS_L2, SDM_CHANGES "; SMSW (Vol. 2)",
      "SMSW to memory stores 16 bits: the shadow where the mask is 1 and CR0 where it is 0")
{
    l2_prepare(smsw_memory.start);
    smsw_stores();
}

CHECK(smsw_user, "M-15/smsw-user", NEEDS_L2, SDM_CHANGES "; SMSW (Vol. 2)",
      "SMSW to memory at CPL 3, without UMIP, stores the shadow where the mask is 1 and CR0 where it is 0")
{
    l2_prepare(smsw_memory.start);
    l2_user_mode();
    smsw_stores();
}
