/* Rows L1-05 to L1-10 and L1-16: into IA-32e mode and out of it. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "long.h"
#include "mode.h"
#include "sweep.h"

#define ENABLING "Paging-Mode Enabling (Vol. 3, 4.1.2)"
#define INITIALIZING "Initializing IA-32e Mode (Vol. 3, 10.8.5)"
#define CODE_16_BIT 0x008F9B000000FFFFull   /* flat, D=0, L=0 */
#define CODE_64_BIT 0x00AF9B000000FFFFull   /* the same with L=1: outside IA-32e mode 16-bit code, too */
#define TSS_TYPE (u64)0xF << 40
#define TSS_16_BIT_AVAILABLE (u64)1 << 40

/* MOV to CR0 in the code segment at SELECTOR_SPARE, in 16-bit code, and back to the kit's. */
void mov_to_cr0_in_16_bit_code(u32 cr0);
extern const char mov_in_16_bit_code[];
asm(".pushsection .text\n"
    "mov_to_cr0_in_16_bit_code: movl 4(%esp), %eax\n"
    "                    ljmp $0x20, $mov_in_16_bit_code\n"
    ".code16\n"
    "mov_in_16_bit_code: movl %eax, %cr0\n"
    "                    ljmpl $0x08, $1f\n"
    ".code32\n"
    "1:                  ret\n"
    ".popsection\n");
_Static_assert(SELECTOR_SPARE == 0x20 && SELECTOR_CODE == 0x08, "the assembly above knows them");

/* 64-bit code that clears CR0.PG. A CPU that lets it pass goes on here outside IA-32e mode, in 16-bit or in 32-bit
   code: MOV to AX, then a jump to the second far JMP; or MOV to EAX, whose operand that jump is, and the first far JMP.
   What they lead to takes the return address off the stack and returns as 64-bit code would. In 64-bit mode far JMPs
   are invalid opcodes. */
extern const char clear_pg_in_64_bit_code[];
asm(".pushsection .text\n"
    ".code64\n"
    "clear_pg_in_64_bit_code: mov %rax, %cr0\n"
    ".code32\n"
    "                    movl $7 << 24 | 0xEB << 16, %eax\n"
    "                    ljmp $0x08, $1f\n"
    ".code16\n"
    "                    ljmpl $0x08, $1f\n"
    ".code32\n"
    "1:                  addl $8, %esp\n"
    "                    lret\n"
    ".popsection\n");

/* Paging must be off still, IA-32e mode inactive and LME set; then go home. */
static void must_stay_outside(struct trap trap, const char *instruction)
{
    u32 cr0 = read_cr0();
    u64 efer = read_msr(IA32_EFER);
    long_leave();
    must_fault(trap, VECTOR_GP, 0, instruction);
    must("cr0_pg", cr0 / CR0_PG, 0);
    must("efer", efer & (EFER_LME | EFER_LMA), EFER_LME);
}

/* IA-32e mode must be active still, with these bits of CR4 as they were; then go home. */
static void must_stay_inside(struct trap trap, const char *instruction, u32 cr4_before)
{
    u32 cr0 = read_cr0(), cr4 = read_cr4();
    u64 efer = read_msr(IA32_EFER);
    long_leave();
    must_fault(trap, VECTOR_GP, 0, instruction);
    must("cr0_pg", cr0 / CR0_PG, 1);
    must("cr4_changed", cr4 ^ cr4_before, 0);
    must("efer", efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
}

CHECK(activated, "L1-16/activated", NEEDS_NOTHING, ENABLING,
      "MOV to CR0 that sets PG with PAE and LME activates IA-32e mode and sets LMA")
{
    need(FEATURE_LONG_MODE);
    long_stage();
    u64 before = read_msr(IA32_EFER);
    struct trap trap = trap_in(mov_to_cr0, read_cr0() | CR0_PG);
    u64 after = read_msr(IA32_EFER);
    u32 cr0 = read_cr0();
    long_leave();
    must_not_fault(trap);
    must("cr0_pg", cr0 / CR0_PG, 1);
    must("efer_before", before & (EFER_LME | EFER_LMA), EFER_LME);
    must("efer_after", after & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
}

CHECK(deactivated, "L1-16/deactivated", NEEDS_NOTHING, ENABLING,
      "MOV to CR0 that clears PG in compatibility mode clears LMA and leaves LME set")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    u64 before = read_msr(IA32_EFER);
    struct trap trap = trap_in(mov_to_cr0, read_cr0() & ~CR0_PG);
    u64 after = read_msr(IA32_EFER);
    u32 cr0 = read_cr0();
    long_leave();
    must_not_fault(trap);
    must("cr0_pg", cr0 / CR0_PG, 0);
    must("efer_before", before & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
    must("efer_after", after & (EFER_LME | EFER_LMA), EFER_LME);
}

CHECK(no_pae, "L1-05", NEEDS_NOTHING, ENABLING, "MOV to CR0 that sets PG with LME=1 and CR4.PAE=0 causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    long_stage();
    write_cr4(0);
    must_stay_outside(trap_in(mov_to_cr0, read_cr0() | CR0_PG), mov_to_cr0_instruction);
}

CHECK(cs_l_control, "L1-06/control", NEEDS_NOTHING, INITIALIZING,
      "Control: MOV to CR0 in a 16-bit code segment with L=0 activates IA-32e mode")
{
    need(FEATURE_LONG_MODE);
    gdt_write(SELECTOR_SPARE, CODE_16_BIT);
    long_stage();
    struct trap trap = trap_in(mov_to_cr0_in_16_bit_code, read_cr0() | CR0_PG);
    u64 efer = read_msr(IA32_EFER);
    long_leave();
    must_not_fault(trap);
    must("efer", efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
}

CHECK(cs_l, "L1-06/cs-l", NEEDS_NOTHING, INITIALIZING,
      "MOV to CR0 that sets PG with LME=1 in a code segment with L=1 causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    gdt_write(SELECTOR_SPARE, CODE_64_BIT);
    long_stage();
    must_stay_outside(trap_in(mov_to_cr0_in_16_bit_code, read_cr0() | CR0_PG), mov_in_16_bit_code);
}

CHECK(tss_16_bit, "L1-07", NEEDS_NOTHING, INITIALIZING,
      "MOV to CR0 that sets PG with LME=1 and a 16-bit TSS in TR causes #GP(0)")
{
    static struct tss tss;
    need(FEATURE_LONG_MODE);
    gdt_write(SELECTOR_SPARE, (tss_descriptor(&tss) & ~TSS_TYPE) | TSS_16_BIT_AVAILABLE);
    write_tr(SELECTOR_SPARE);
    long_stage();
    must_stay_outside(trap_in(mov_to_cr0, read_cr0() | CR0_PG), mov_to_cr0_instruction);
}

CHECK(clear_pg_64, "L1-08", NEEDS_NOTHING, ENABLING, "MOV to CR0 that clears PG in 64-bit mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    u32 cr4 = read_cr4();
    must_stay_inside(trap_in_64(clear_pg_in_64_bit_code, read_cr0() & ~CR0_PG), clear_pg_in_64_bit_code, cr4);
}

CHECK(clear_pg_pcide, "L1-09", NEEDS_NOTHING, ENABLING,
      "MOV to CR0 that clears PG in compatibility mode with CR4.PCIDE=1 causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    need(FEATURE_PCID);
    long_enter();
    write_cr4(read_cr4() | CR4_PCIDE);
    u32 cr4 = read_cr4();
    must_stay_inside(trap_in(mov_to_cr0, read_cr0() & ~CR0_PG), mov_to_cr0_instruction, cr4);
    must("cr4_pcide", cr4 / CR4_PCIDE & 1, 1);
}

CHECK(clear_pae_compatibility, "L1-10/compatibility", NEEDS_NOTHING, ENABLING,
      "MOV to CR4 that clears PAE in compatibility mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    u32 cr4 = read_cr4();
    must_stay_inside(trap_in(mov_to_cr4, cr4 & ~CR4_PAE), mov_to_cr4_instruction, cr4);
}

CHECK(clear_pae_64, "L1-10/64-bit", NEEDS_NOTHING, ENABLING, "MOV to CR4 that clears PAE in 64-bit mode causes #GP(0)")
{
    need(FEATURE_LONG_MODE);
    long_enter();
    u32 cr4 = read_cr4();
    must_stay_inside(trap_in_64(mov_to_cr4_64, cr4 & ~CR4_PAE), mov_to_cr4_64, cr4);
}
