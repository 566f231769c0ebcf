/* M-12 and M-13: LMSW, which writes bits 3:0 of CR0 and never clears PE. */
#include "effects.h"
#include "stage.h"
#include "sweep.h"

enum { OPERAND_FAULT_LIMIT = 0xFFF, EACH_SOURCE_BIT = 0xFFFF, SOURCE_BITS = 16 };
#define MSW_BITS (CR0_MP | CR0_EM | CR0_TS)

L2_CODE(lmsw_register, "lmsw %ax");
L2_CODE(lmsw_memory, "lmsw (%ebx)");

static u16 operand[PAGE_SIZE / 2] PAGE_ALIGNED;

/* L2 executes LMSW with this source, from AX or from memory. */
static struct vm_exit lmsw(enum lmsw_operand where, u16 source)
{
    operand[0] = source;
    l2_registers.eax = source;
    l2_registers.ebx = address_of(operand);
    return l2_try(where == IN_MEMORY ? &lmsw_memory : &lmsw_register);
}

CHECK(lmsw_unmasked, "M-12/control", NEEDS_L2, "LMSW (Vol. 2)",
      "Control: LMSW loads MP, EM and TS and leaves all other bits when no bit of CR0 is masked")
{
    l2_prepare(lmsw_register.start);
    own(&cr0, 0, 0);
    struct vm_exit exit = lmsw(IN_REGISTER, MSW_BITS | CR0_PE);
    must_execute(&exit, &lmsw_register);
    must("cr0", exit.cr0, L2_CR0 | MSW_BITS);
}

CHECK(lmsw_from_register, "M-12/lmsw-register", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "LMSW of a register that sets TS, masked with shadow 0, exits with operand type and source in the qualification")
{
    l2_prepare(lmsw_register.start);
    own(&cr0, CR0_TS, 0);
    struct vm_exit exit = lmsw(IN_REGISTER, 0xA5A0 | CR0_TS | CR0_PE);
    must_exit_on(&exit, &lmsw_register, LMSW_OF(IN_REGISTER, 0xA5A0 | CR0_TS | CR0_PE));
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(lmsw_from_memory, "M-12/lmsw-memory", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "LMSW of memory that sets TS, masked with shadow 0, exits with the operand's linear address")
{
    l2_prepare(lmsw_memory.start);
    own(&cr0, CR0_TS, 0);
    struct vm_exit exit = lmsw(IN_MEMORY, 0x5A50 | CR0_TS | CR0_PE);
    must_exit_on(&exit, &lmsw_memory, LMSW_OF(IN_MEMORY, 0x5A50 | CR0_TS | CR0_PE));
    must("guest_linear_address", exit.guest_linear_address, address_of(operand));
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(lmsw_segment_base, "M-12/lmsw-memory-segment-base", NEEDS_L2, SDM_QUALIFICATION,
      "The guest-linear address of an LMSW exit includes the base of the operand's segment")
{
    l2_prepare(lmsw_memory.start);
    own(&cr0, CR0_TS, 0);
    vmcs_write(GUEST_DS_BASE, PAGE_SIZE);
    operand[0] = CR0_TS;
    l2_registers.ebx = address_of(operand) - PAGE_SIZE;
    struct vm_exit exit = l2_try(&lmsw_memory);
    must_exit_on(&exit, &lmsw_memory, LMSW_OF(IN_MEMORY, CR0_TS));
    must("guest_linear_address", exit.guest_linear_address, address_of(operand));
}

/* Bits 31:16 of the qualification hold the whole source, whichever of its bits are set. TS is the one that exits. */
static void each_source(enum lmsw_operand where, const struct l2_code *code)
{
    struct sweep sweep = { 0 };
    l2_prepare(code->start);
    for (u32 bit = 0; bit < SOURCE_BITS; bit++) {
        u16 source = (u16)(1u << bit);
        own(&cr0, CR0_TS, ~(u32)source & CR0_TS);
        struct vm_exit exit = lmsw(where, source);
        sweep_turn(&sweep, bit, exited_on(&exit, code, LMSW_OF(where, source)), &exit, code);
    }
    must_all(&sweep, EACH_SOURCE_BIT);
}

CHECK(source_register, "M-12/source-register", NEEDS_L2, SDM_QUALIFICATION,
      "An LMSW exit reports each bit of a register's source data in bits 31:16 of the qualification")
{
    each_source(IN_REGISTER, &lmsw_register);
}

CHECK(source_memory, "M-12/source-memory", NEEDS_L2, SDM_QUALIFICATION,
      "An LMSW exit reports each bit of a memory operand's source data in bits 31:16 of the qualification")
{
    each_source(IN_MEMORY, &lmsw_memory);
}

/* Turn 2 * shadow + source for one masked bit, whose real value is the opposite of the source: which of the four exit,
   and when none does, what the bit does afterwards. */
static void must_exit_in_turns(const struct effect *effect, u32 required)
{
    u32 exits = 0, bit = effect->bit;
    struct sweep sweep = { 0 };
    l2_prepare(lmsw_register.start);
    vmcs_write(EXCEPTION_BITMAP, 0xFFFFFFFF); /* one of the turns is in real-address mode */
    for (u32 turn = 0; turn < 4; turn++) {
        u32 shadow = turn & 2 ? bit : 0, written = turn & 1 ? bit : 0;
        u16 source = (u16)(written | (CR0_PE & ~bit));
        vmcs_write(GUEST_CR0, (L2_CR0 & ~bit) | (~written & bit));
        own(&cr0, bit, shadow);
        struct vm_exit exit = lmsw(IN_REGISTER, source);
        bool exited = exited_on(&exit, &lmsw_register, LMSW_OF(IN_REGISTER, source));
        exits |= (u32)exited << turn;
        sweep_turn(&sweep, turn, exited || executed(&exit, &lmsw_register), &exit, &lmsw_register);
    }
    must_all(&sweep, 0xF);
    must("turns_that_exit", exits, required);
    must_keep(effect, BY_LMSW, ALONE);
}

enum { WHERE_SOURCE_AND_SHADOW_DIFFER = 1 << 1 | 1 << 2, WHERE_SOURCE_IS_1_AND_SHADOW_0 = 1 << 1 };

CHECK(lmsw_mp, "M-12/mp", NEEDS_L2, SDM_EXITS,
      "LMSW exits when it writes another value than the shadow to a masked MP, and else leaves MP")
{
    must_exit_in_turns(&effect_mp, WHERE_SOURCE_AND_SHADOW_DIFFER);
}

CHECK(lmsw_em, "M-12/em", NEEDS_L2, SDM_EXITS,
      "LMSW exits when it writes another value than the shadow to a masked EM, and else leaves EM")
{
    must_exit_in_turns(&effect_em, WHERE_SOURCE_AND_SHADOW_DIFFER);
}

CHECK(lmsw_ts, "M-12/ts", NEEDS_L2, SDM_EXITS,
      "LMSW exits when it writes another value than the shadow to a masked TS, and else leaves TS")
{
    must_exit_in_turns(&effect_ts, WHERE_SOURCE_AND_SHADOW_DIFFER);
}

CHECK(lmsw_pe, "M-12/pe", NEEDS_L2, SDM_EXITS,
      "LMSW exits when it writes 1 to a masked PE with shadow 0, and else leaves PE")
{
    must_exit_in_turns(&effect_pe, WHERE_SOURCE_IS_1_AND_SHADOW_0);
}

CHECK(lmsw_clears_no_pe, "M-12/pe-stays", NEEDS_L2, SDM_CHANGES,
      "LMSW with bit 0 clear leaves an unmasked PE set and causes no #GP")
{
    l2_prepare(lmsw_register.start);
    struct vm_exit exit = lmsw(IN_REGISTER, 0);
    must_execute(&exit, &lmsw_register);
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(lmsw_clears_no_pe_beside, "M-12/pe-stays-beside-mp", NEEDS_L2, SDM_CHANGES,
      "LMSW with bit 0 clear and bit 1 set leaves an unmasked PE set, sets MP and causes no #GP")
{
    l2_prepare(lmsw_register.start);
    struct vm_exit exit = lmsw(IN_REGISTER, CR0_MP);
    must_execute(&exit, &lmsw_register);
    must("cr0", exit.cr0, L2_CR0 | CR0_MP);
}

CHECK(lmsw_sets_pe, "M-12/pe-set", NEEDS_L2, SDM_CHANGES, "LMSW in an L2 in real-address mode sets an unmasked PE")
{
    l2_prepare(lmsw_register.start);
    l2_real_mode();
    struct vm_exit exit = lmsw(IN_REGISTER, CR0_PE);
    must_execute(&exit, &lmsw_register);
    must("cr0", exit.cr0, L2_CR0);
}

CHECK(lmsw_other_bits, "M-12/other-bits", NEEDS_L2, SDM_EXITS,
      "LMSW does not exit although bits 31:4 of CR0 are all masked and its source differs from their shadows")
{
    l2_prepare(lmsw_register.start);
    own(&cr0, ~0xFu, 0);
    struct vm_exit exit = lmsw(IN_REGISTER, 0xFFF0 | CR0_MP | CR0_PE);
    must_execute(&exit, &lmsw_register);
    must("cr0", exit.cr0, L2_CR0 | CR0_MP);
}

CHECK(lmsw_operand_fault, "M-12/operand-beyond-limit", NEEDS_L2, SDM_PRIORITY,
      "LMSW that would exit causes #GP(0) when its operand is beyond the segment limit")
{
    l2_prepare(lmsw_memory.start);
    own(&cr0, 0xF, 0);
    vmcs_write(GUEST_DS_LIMIT, OPERAND_FAULT_LIMIT);
    vmcs_write(GUEST_DS_ACCESS_RIGHTS, 0x4093); /* byte granularity, as the limit has zeros above */
    struct vm_exit exit = lmsw(IN_MEMORY, 0xF);
    must_take_exception(&exit, &lmsw_memory, VECTOR_GP, 0);
}

CHECK(lmsw_operand_unmapped, "M-12/operand-unmapped", NEEDS_L2, SDM_PRIORITY,
      "LMSW that would exit causes an EPT violation when EPT does not map its operand")
{
    l2_prepare(lmsw_memory.start);
    own(&cr0, 0xF, 0);
    ept_protect(operand, EPT_NOTHING);
    struct vm_exit exit = lmsw(IN_MEMORY, 0xF);
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("guest_physical_address", exit.guest_physical_address, address_of(operand));
    must_stop_at(&exit, lmsw_memory.start);
    saw_exit(&exit, lmsw_memory.start);
}

/* M-13: TS is masked, its shadow is `ts`, which is what L2 writes there, and the real TS is the opposite. The other
   bits that L2 writes are its own: MP is set, EM cleared. The real TS shows in what the next FNINIT does. */
#define FNINIT_BYTES 2
L2_CODE(mov_fninit, "movl %eax, %cr0; fninit");
L2_CODE(lmsw_fninit, "lmsw %ax; fninit");

static void ts_stays(const struct l2_code *code, u32 em, u32 ts)
{
    struct l2_code fninit = { code->end - FNINIT_BYTES, code->end };
    u32 real = ~ts & CR0_TS;
    l2_prepare(code->start);
    vmcs_write(GUEST_CR0, L2_CR0 | em | real);
    own(&cr0, CR0_TS, ts);
    struct vm_exit exit = l2_try_with(code, L2_CR0 | CR0_MP | ts);
    if (real)
        must_take_exception(&exit, &fninit, VECTOR_NM, 0);
    else
        must_execute(&exit, code);
    must("cr0", exit.cr0, L2_CR0 | CR0_MP | real);
    note_cr0();
}

CHECK(mov_keeps_ts, "M-13/control-ts-clear", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 that changes MP and EM leaves a masked TS clear when it writes TS=1, as the shadow is")
{
    ts_stays(&mov_fninit, CR0_EM, CR0_TS);
}

CHECK(mov_keeps_ts_set, "M-13/control-ts-set", NEEDS_L2, SDM_CHANGES,
      "Control: MOV to CR0 that changes MP and EM leaves a masked TS set when it writes TS=0, as the shadow is")
{
    ts_stays(&mov_fninit, CR0_EM, 0);
}

CHECK(lmsw_mp_keeps_ts, "M-13/mp-ts-clear", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP leaves a masked TS clear when it writes TS=1, as the shadow is: FNINIT executes")
{
    ts_stays(&lmsw_fninit, 0, CR0_TS);
}

CHECK(lmsw_mp_keeps_ts_set, "M-13/mp-ts-set", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP leaves a masked TS set when it writes TS=0, as the shadow is: FNINIT causes #NM")
{
    ts_stays(&lmsw_fninit, 0, 0);
}

CHECK(lmsw_em_keeps_ts, "M-13/em-ts-clear", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP and EM leaves a masked TS clear when it writes TS=1, as the shadow is: FNINIT executes")
{
    ts_stays(&lmsw_fninit, CR0_EM, CR0_TS);
}

CHECK(lmsw_em_keeps_ts_set, "M-13/em-ts-set", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP and EM leaves a masked TS set when it writes TS=0, as the shadow is: FNINIT causes #NM")
{
    ts_stays(&lmsw_fninit, CR0_EM, 0);
}

/* L1 owns the bit. L2 writes it as its shadow is, together with a bit of its own: whoever executes that LMSW for L2
   must leave the real bit. */
CHECK(lmsw_keeps_mp, "M-13/mp-masked", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes EM leaves a masked MP that it writes as the shadow is, as FWAIT with TS=1 shows")
{
    must_keep(&effect_mp, BY_LMSW, WITH_ANOTHER);
}

CHECK(lmsw_keeps_em, "M-13/em-masked", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP leaves a masked EM that it writes as the shadow is, as FNINIT shows")
{
    must_keep(&effect_em, BY_LMSW, WITH_ANOTHER);
}

CHECK(lmsw_keeps_pe, "M-13/pe-masked", NEEDS_L2, SDM_CHANGES,
      "LMSW that changes MP leaves a masked PE that it writes as the shadow is, as a load of FS shows")
{
    must_keep(&effect_pe, BY_LMSW, WITH_ANOTHER);
}

L2_CODE(lmsw_reads, "lmsw %ax; movl %cr0, %edi");

/* L1 owns `bit`, whose shadow is the opposite of the real bit. L2 sets MP by LMSW and reads CR0 before any VM exit. */
static struct vm_exit read_after_lmsw(u32 bit)
{
    own(&cr0, bit, ~L2_CR0 & bit);
    vmcs_write(GUEST_CR0, L2_CR0);
    return l2_try_with(&lmsw_reads, CR0_PE | CR0_MP);
}

CHECK(lmsw_shadow, "M-13/shadow", NEEDS_L2, SDM_CHANGES,
      "MOV from CR0 reads WP=1, the shadow of a masked WP, after LMSW has set MP")
{
    l2_prepare(lmsw_reads.start);
    struct vm_exit exit = read_after_lmsw(CR0_WP);
    must_execute(&exit, &lmsw_reads);
    must("cr0_read", exit.registers.edi, L2_CR0 | CR0_MP | CR0_WP);
    note_cr0();
}

CHECK(lmsw_shadows, "M-13/shadow-each-bit", NEEDS_L2, SDM_CHANGES,
      "MOV from CR0 reads the shadow of a masked bit above 3:0 after LMSW has set MP, whichever bit that is")
{
    u32 wrongly_read = 0;
    l2_prepare(lmsw_reads.start);
    for (u32 bit = 1u << 4; bit; bit <<= 1) {
        struct vm_exit exit = read_after_lmsw(bit);
        if (!executed(&exit, &lmsw_reads) || exit.registers.edi != ((L2_CR0 | CR0_MP) ^ bit))
            wrongly_read |= bit;
    }
    must("wrongly_read", wrongly_read, 0);
}
