/* Rows L1-01 to L1-04: what MOV to CR0 accepts. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "mode.h"
#include "real.h"
#include "sweep.h"

/* Bits 28:19, 17 and 15:6 (SDM, figure "Control Registers"). */
#define CR0_RESERVED 0x1FFAFFC0u

/* MOV to CR0 must end in #GP(0) and change nothing. */
static void must_refuse(u32 value)
{
    u32 before = read_cr0();
    struct trap trap = trap_in(mov_to_cr0, value);
    u32 after = read_cr0();
    write_cr0(before);
    must_fault(trap, VECTOR_GP, 0, mov_to_cr0_instruction);
    must("cr0_changed", after ^ before, 0);
}

static void paging_off(void)
{
    mode_enter((struct mode){ read_cr0() & ~CR0_PG, read_cr3(), read_cr4() });
}

CHECK(pg_with_pe, "L1-01/control", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "Control: MOV to CR0 sets PG when PE=1")
{
    paging_off();
    struct trap trap = trap_in(mov_to_cr0, read_cr0() | CR0_PG);
    u32 cr0 = read_cr0();
    mode_leave();
    must_not_fault(trap);
    must("cr0_pg", cr0 / CR0_PG, 1);
}

CHECK(pe_cleared, "L1-01/pe-cleared", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "MOV to CR0 that clears PE and leaves PG set causes #GP(0)")
{
    must_refuse(read_cr0() & ~CR0_PE);
}

CHECK(pg_set_pe_cleared, "L1-01/pg-set-pe-cleared", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "MOV to CR0 that sets PG and clears PE causes #GP(0)")
{
    paging_off();
    must_refuse((read_cr0() | CR0_PG) & ~CR0_PE);
    mode_leave();
}

extern const char real_mov_to_cr0[];
asm(".pushsection .text\n"
    ".code16\n"
    "real_mov_to_cr0: movl %eax, %cr0\n"
    "                 lretw\n"
    ".code32\n"
    ".popsection\n");

CHECK(pg_set_in_real_mode, "L1-01/real-mode", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "MOV to CR0 that sets PG in real-address mode causes #GP, and without PG it executes")
{
    u32 real = read_cr0() & ~(CR0_PE | CR0_PG);
    struct trap control = trap_in_real(real_mov_to_cr0, real);
    struct trap trap = trap_in_real(real_mov_to_cr0, real | CR0_PG);
    must("control_fault", control.taken, false);
    must_fault(trap, VECTOR_GP, 0, real_mov_to_cr0);
}

CHECK(cache_accepted, "L1-02/control", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "Control: MOV to CR0 accepts the three valid combinations of CD and NW")
{
    static const u32 valid[] = { CR0_CD, CR0_CD | CR0_NW, 0 };
    u32 base = read_cr0() & ~(CR0_CD | CR0_NW), faults = 0, wrongly_read = 0;
    for (u32 index = 0; index < ARRAY_SIZE(valid); index++) {
        faults += trap_in(mov_to_cr0, base | valid[index]).taken;
        wrongly_read += read_cr0() != (base | valid[index]);
    }
    write_cr0(base);
    must("faults", faults, 0);
    must("wrongly_read", wrongly_read, 0);
}

CHECK(nw_without_cd, "L1-02/nw-without-cd", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "MOV to CR0 with NW=1 and CD=0 causes #GP(0) from each valid combination of the two")
{
    static const u32 from[] = { 0, CR0_CD, CR0_CD | CR0_NW };
    u32 home = read_cr0(), base = home & ~(CR0_CD | CR0_NW), refused = 0, changed = 0;
    for (u32 index = 0; index < ARRAY_SIZE(from); index++) {
        write_cr0(base | from[index]);
        refused += is_gp(trap_in(mov_to_cr0, base | CR0_NW), mov_to_cr0_instruction);
        changed |= read_cr0() ^ (base | from[index]);
        write_cr0(home);
    }
    must("refused", refused, ARRAY_SIZE(from));
    must("cr0_changed", changed, 0);
}

/* The MOV instruction's description has it that reserved bits of CR0 remain clear, and that writing them has no
   effect. */
CHECK(reserved_low_bits, "L1-03/reserved-low-bits", NEEDS_NOTHING, "MOV - Move to/from Control Registers (Vol. 2)",
      "MOV to CR0 that sets a reserved bit below bit 32 executes, and the bit reads as 0")
{
    u32 base = read_cr0(), faults = 0, stuck = 0;
    for (u32 bit = 1; bit; bit <<= 1) {
        if (!(CR0_RESERVED & bit))
            continue;
        faults |= trap_in(mov_to_cr0, base | bit).taken ? bit : 0;
        stuck |= read_cr0() ^ base;
        write_cr0(base);
    }
    must("faulting_bits", faults, 0);
    must("changed_bits", stuck, 0);
}

CHECK(high_half, "L1-03/high-half", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)",
      "MOV to CR0 in 64-bit mode causes #GP(0) when any of bits 63:32 is set")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    u32 base = read_cr0();
    struct trap control = trap_in_64(mov_to_cr0_64, base);
    u64 faults = faulting_bits_64(mov_to_cr0_64, base, ~(u64)0 << 32);
    u32 cr0 = read_cr0();
    long_leave();
    must_not_fault(control);
    must("faulting_bits", faults, ~(u64)0 << 32);
    must("cr0_changed", cr0 ^ base, 0);
}

CHECK(et, "L1-04", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)", "MOV to CR0 with ET=0 executes, and ET reads as 1")
{
    struct trap trap = trap_in(mov_to_cr0, read_cr0() & ~CR0_ET);
    u32 cr0 = read_cr0();
    write_cr0(cr0 | CR0_ET);
    must_not_fault(trap);
    must("cr0_et", cr0 / CR0_ET & 1, 1);
}
