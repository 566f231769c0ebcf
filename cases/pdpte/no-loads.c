/* What does not load the PDPTE registers: all that "PDPTE Registers" does not name. */
#include "check.h"
#include "stage.h"
#include "toggle.h"

#define LOADS "PDPTE Registers (Vol. 3, 4.4.1)"
#define MOV_TO(what) "MOV to " what " does not load the PDPTEs and causes no #GP when one has a reserved bit"

enum { IA32_SYSENTER_CS = 0x174, IA32_SYSENTER_ESP = 0x175, IA32_SYSENTER_EIP = 0x176 };
#define IA32_STAR 0xC0000081

CHECK(wp, "P-09/wp", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles WP"))
{
    must_not_load((struct toggle){ .cr0 = CR0_WP });
}

CHECK(mp, "P-10/mp", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles MP"))
{
    must_not_load((struct toggle){ .cr0 = CR0_MP });
}

CHECK(em, "P-10/em", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles EM"))
{
    must_not_load((struct toggle){ .cr0 = CR0_EM });
}

CHECK(ts, "P-10/ts", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles TS"))
{
    must_not_load((struct toggle){ .cr0 = CR0_TS });
}

CHECK(ne, "P-10/ne", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles NE"))
{
    must_not_load((struct toggle){ .cr0 = CR0_NE });
}

CHECK(am, "P-10/am", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR0 that toggles AM"))
{
    must_not_load((struct toggle){ .cr0 = CR0_AM });
}

/* Run `body` with a corrupt PDPTE in memory and these bits of CR0 set: what it raises. It must change `changes` of CR0
   and load nothing. */
static struct trap must_not_load_in(void (*body)(u32 argument), u32 argument, u32 with_cr0, u32 changes)
{
    struct mode mode = pae();
    mode.cr0 |= with_cr0;
    stage_set();
    mode_enter(mode);
    tables.pdpt[WINDOW] = other_pdpte() | PDPTE_RESERVED;
    struct trap trap = trap_in(body, argument);
    must("cr0_changed_bits", read_cr0() ^ mode.cr0, changes);
    must("window", through_window(), HERE);
    mode_leave();
    return trap;
}

static void lmsw(u32 value)
{
    asm volatile("lmsw %w0" : : "r"(value));
}

CHECK(lmsw_sets, "P-10/lmsw", NEEDS_PDPTE_REGISTERS, LOADS,
      "LMSW that sets MP, EM and TS does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    must_not_fault(must_not_load_in(lmsw, CR0_PE | CR0_MP | CR0_EM | CR0_TS, 0, CR0_MP | CR0_EM | CR0_TS));
}

static void clts(u32 argument)
{
    (void)argument;
    asm volatile("clts");
}

CHECK(clts_clears, "P-11/clts", NEEDS_PDPTE_REGISTERS, LOADS,
      "CLTS does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    must_not_fault(must_not_load_in(clts, 0, CR0_TS, CR0_TS));
}

CHECK(smap, "P-13/smap", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles SMAP"))
{
    need(FEATURE_SMAP);
    must_not_load((struct toggle){ .cr4 = CR4_SMAP });
}

CHECK(pke, "P-14/pke", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles PKE"))
{
    need(FEATURE_PKU);
    must_not_load((struct toggle){ .cr4 = CR4_PKE });
}

CHECK(pks, "P-14/pks", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles PKS"))
{
    need(FEATURE_PKS);
    must_not_load((struct toggle){ .cr4 = CR4_PKS });
}

CHECK(cet, "P-14/cet", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles CET with CR0.WP=1"))
{
    if (!has(FEATURE_CET_SS))
        need(FEATURE_CET_IBT);
    must_not_load((struct toggle){ .cr4 = CR4_CET, .with_cr0 = CR0_WP });
}

CHECK(la57, "P-14/la57", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles LA57 outside IA-32e mode"))
{
    need(FEATURE_LA57);
    must_not_load((struct toggle){ .cr4 = CR4_LA57 });
}

CHECK(de, "P-15/de", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles DE"))
{
    must_not_load((struct toggle){ .cr4 = CR4_DE });
}

CHECK(tsd, "P-15/tsd", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles TSD"))
{
    must_not_load((struct toggle){ .cr4 = CR4_TSD });
}

CHECK(osfxsr, "P-15/osfxsr", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles OSFXSR"))
{
    need(FEATURE_FXSR);
    must_not_load((struct toggle){ .cr4 = CR4_OSFXSR });
}

CHECK(mce, "P-15/mce", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles MCE"))
{
    need(FEATURE_MCE);
    must_not_load((struct toggle){ .cr4 = CR4_MCE });
}

CHECK(beside_mce, "P-15/beside-mce", NEEDS_PDPTE_REGISTERS, LOADS, MOV_TO("CR4 that toggles DE, TSD, OSFXSR and MCE"))
{
    need(FEATURE_MCE);
    need(FEATURE_FXSR);
    must_not_load((struct toggle){ .cr4 = CR4_DE | CR4_TSD | CR4_OSFXSR | CR4_MCE });
}

static void far_jump(u32 argument)
{
    (void)argument;
    asm volatile("ljmp %0, $1f\n1:" : : "i"(SELECTOR_CODE));
}

CHECK(jumps_far, "P-21/far-jump", NEEDS_PDPTE_REGISTERS, LOADS,
      "A far JMP to a code segment does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    must_not_fault(must_not_load_in(far_jump, 0, 0, 0));
}

static void iret(u32 argument)
{
    (void)argument;
    asm volatile("pushfl\npushl %%cs\npushl $1f\niret\n1:" : : : "memory", "cc");
}

CHECK(returns, "P-21/iret", NEEDS_PDPTE_REGISTERS, LOADS,
      "IRET does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    must_not_fault(must_not_load_in(iret, 0, 0, 0));
}

/* To the next instruction, on the same stack: SYSENTER loads CS and SS with flat segments whatever the GDT
   holds. */
static void sysenter(u32 argument)
{
    (void)argument;
    asm volatile("pushl %%ebp\n"
                 "xorl %%edx, %%edx\n"
                 "movl %0, %%eax\n movl %1, %%ecx\n wrmsr\n"
                 "movl %%esp, %%eax\n movl %2, %%ecx\n wrmsr\n"
                 "movl $1f, %%eax\n movl %3, %%ecx\n wrmsr\n"
                 "sysenter\n"
                 "1: popl %%ebp"
                 :
                 : "i"(SELECTOR_CODE), "i"(IA32_SYSENTER_CS), "i"(IA32_SYSENTER_ESP), "i"(IA32_SYSENTER_EIP)
                 : "eax", "ecx", "edx", "memory", "cc");
}

CHECK(sysenters, "P-21/sysenter", NEEDS_PDPTE_REGISTERS, LOADS,
      "SYSENTER does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    need(FEATURE_SEP);
    must_not_fault(must_not_load_in(sysenter, 0, 0, 0));
    write_msr(IA32_SYSENTER_CS, 0);
}

/* A CPU that executes it goes on at the address in IA32_STAR, with the address of the RET in ECX. */
void syscall(u32 argument);
extern const char syscall_instruction[], syscall_target[];
asm(".pushsection .text\n"
    "syscall:\n"
    "syscall_instruction: syscall\n"
    "                     ret\n"
    "syscall_target:      jmp *%ecx\n"
    ".popsection\n");

CHECK(syscalls, "P-21/syscall", NEEDS_PDPTE_REGISTERS, "SYSCALL (Vol. 2); " LOADS,
      "SYSCALL outside 64-bit mode causes #UD although IA32_EFER.SCE=1, and does not load the PDPTEs")
{
    need(FEATURE_LONG_MODE);
    u64 efer = read_msr(IA32_EFER), star = read_msr(IA32_STAR);
    write_msr(IA32_EFER, efer | EFER_SCE);
    write_msr(IA32_STAR, (u64)SELECTOR_CODE << 32 | address_of(syscall_target));
    struct trap trap = must_not_load_in(syscall, 0, 0, 0);
    write_msr(IA32_STAR, star);
    write_msr(IA32_EFER, efer);
    must_fault(trap, VECTOR_UD, 0, syscall_instruction);
}

static void invlpg(u32 address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
    asm volatile("invlpg %0" : : "m"(tables.pdpt) : "memory");
}

CHECK(invalidates, "P-24/invlpg", NEEDS_PDPTE_REGISTERS,
      "Operations that Invalidate TLBs and Paging-Structure Caches (Vol. 3, 4.10.4.1)",
      "INVLPG does not load the PDPTEs and causes no #GP when one has a reserved bit")
{
    must_not_fault(must_not_load_in(invlpg, window_at(0), 0, 0));
}
