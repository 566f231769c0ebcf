/* M-01 and M-02: MOV to CR0 and CR4 against the guest/host masks and read shadows, MOV to and from CR3 with their
   controls. */
#include "effects.h"
#include "feature.h"
#include "stage.h"
#include "sweep.h"

enum { BITS = 32 };
#define EACH_BIT 0xFFFFFFFF

CHECK(unmasked, "M-01/control", NEEDS_L2, SDM_EXITS,
      "Control: MOV to CR0 executes, whatever the shadow is, when no bit of CR0 is masked")
{
    l2_prepare(mov_to_cr0.start);
    own(&cr0, 0, ~(L2_CR0 | CR0_TS));
    struct vm_exit exit = l2_try_with(&mov_to_cr0, L2_CR0 | CR0_TS);
    must_execute(&exit, &mov_to_cr0);
    must("cr0", exit.cr0, L2_CR0 | CR0_TS);
}

CHECK(masked_pg, "M-01/pg", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "MOV to CR0 that sets PG, masked with shadow 0, exits as MOV to CR0 from EAX and leaves CR0 unchanged")
{
    l2_prepare(mov_to_cr0.start);
    own(&cr0, CR0_PG, 0);
    struct vm_exit exit = l2_try_with(&mov_to_cr0, L2_CR0 | CR0_PG);
    must_exit_on(&exit, &mov_to_cr0, MOV_TO_CR(0, EAX));
    must("cr0", exit.cr0, L2_CR0);
}

/* Each bit alone masked, its shadow the opposite of what L2 writes there; all other bits are written as they are. */
static void each_bit_exits(const struct control_register *cr, bool write_ones)
{
    struct sweep sweep = { 0 };
    l2_prepare(cr->mov_to->start);
    for (u32 bit = 0; bit < BITS; bit++) {
        own(cr, 1u << bit, write_ones ? 0 : 1u << bit);
        u32 value = write_ones ? cr->initial | 1u << bit : cr->initial & ~(1u << bit);
        struct vm_exit exit = l2_try_with(cr->mov_to, value);
        bool right = exited_on(&exit, cr->mov_to, MOV_TO_CR(cr->number, EAX)) && vmcs_read(cr->guest) == cr->initial;
        sweep_turn(&sweep, bit, right, &exit, cr->mov_to);
    }
    must_all(&sweep, EACH_BIT);
}

CHECK(cr0_ones, "M-01/cr0-each-bit-set", NEEDS_L2, SDM_EXITS,
      "MOV to CR0 exits when it writes 1 to a masked bit with shadow 0, whichever bit that is")
{
    each_bit_exits(&cr0, true);
}

CHECK(cr0_zeros, "M-01/cr0-each-bit-clear", NEEDS_L2, SDM_EXITS,
      "MOV to CR0 exits when it writes 0 to a masked bit with shadow 1, whichever bit that is")
{
    each_bit_exits(&cr0, false);
}

CHECK(cr4_ones, "M-01/cr4-each-bit-set", NEEDS_L2, SDM_EXITS,
      "MOV to CR4 exits when it writes 1 to a masked bit with shadow 0, whichever bit that is")
{
    each_bit_exits(&cr4, true);
}

CHECK(cr4_zeros, "M-01/cr4-each-bit-clear", NEEDS_L2, SDM_EXITS,
      "MOV to CR4 exits when it writes 0 to a masked bit with shadow 1, whichever bit that is")
{
    each_bit_exits(&cr4, false);
}

/* MOV with each general register, MOVES_APART bytes from one to the next. */
enum { MOVES_APART = 8, MOV_BYTES = 3 };
#define EACH_REGISTER ((1u << GENERAL_REGISTERS) - 1)
#define MOVES(name, mov)                                                                       \
    extern const char name[];                                                                  \
    asm(".pushsection .text\n.balign 8\n" #name ":\n"                                          \
        ".irp register, eax, ecx, edx, ebx, esp, ebp, esi, edi\n.balign 8\n" mov "\nvmcall\n.endr\n" \
        ".popsection")
MOVES(moves_to_cr0, "movl %\\register, %cr0");
MOVES(moves_to_cr4, "movl %\\register, %cr4");
MOVES(moves_to_cr3, "movl %\\register, %cr3");
MOVES(moves_from_cr3, "movl %cr3, %\\register");

/* The exit qualification names each register. */
static void each_register_exits(const char *moves, u32 cr, enum cr_access_type type)
{
    struct sweep sweep = { 0 };
    for (u32 number = 0; number < GENERAL_REGISTERS; number++) {
        struct l2_code code = { moves + number * MOVES_APART, moves + number * MOVES_APART + MOV_BYTES };
        struct vm_exit exit = l2_try(&code);
        struct cr_access access = { .cr = cr, .type = type, .general_register = number };
        sweep_turn(&sweep, number, exited_on(&exit, &code, access), &exit, &code);
    }
    must_all(&sweep, EACH_REGISTER);
}

CHECK(registers_to_cr0, "M-01/cr0-each-register", NEEDS_L2, SDM_QUALIFICATION,
      "An exit for MOV to CR0 reports the general register in bits 11:8 of the qualification")
{
    l2_prepare(moves_to_cr0);
    own(&cr0, CR0_PG, CR0_PG);
    each_register_exits(moves_to_cr0, 0, MOV_TO);
}

CHECK(registers_to_cr4, "M-01/cr4-each-register", NEEDS_L2, SDM_QUALIFICATION,
      "An exit for MOV to CR4 reports the general register in bits 11:8 of the qualification")
{
    l2_prepare(moves_to_cr4);
    own(&cr4, CR4_RESERVED, CR4_RESERVED);
    vmcs_write(GUEST_RSP, 0);
    each_register_exits(moves_to_cr4, 4, MOV_TO);
}

CHECK(registers_to_cr3, "M-01/cr3-load-each-register", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "MOV to CR3 exits with CR3-load exiting, and bits 11:8 of the qualification report the general register")
{
    l2_prepare(moves_to_cr3);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_LOAD_EXITING, "no CR3-load exiting");
    each_register_exits(moves_to_cr3, 3, MOV_TO);
}

CHECK(registers_from_cr3, "M-01/cr3-store-each-register", NEEDS_L2, SDM_EXITS "; " SDM_QUALIFICATION,
      "MOV from CR3 exits with CR3-store exiting, and bits 11:8 of the qualification report the general register")
{
    l2_prepare(moves_from_cr3);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_STORE_EXITING, "no CR3-store exiting");
    each_register_exits(moves_from_cr3, 3, MOV_FROM);
}

L2_CODE(cr0_there_and_back, "movl %eax, %cr0; movl %cr0, %eax");
L2_CODE(cr4_there_and_back, "movl %eax, %cr4; movl %cr4, %eax");

/* Each bit alone masked, its shadow the opposite of the real bit: L2 writes what it believes, and reads it back. It
   changes the bit `also`, which is its own, at the same time: a hypervisor below L1 may leave other changes to the
   CPU. */
static void each_bit_stays(const struct control_register *cr, const struct l2_code *code, u32 real, u32 also)
{
    struct sweep sweep = { 0 };
    u32 reads = 0;
    l2_prepare(code->start);
    for (u32 bit = 0; bit < BITS; bit++) {
        u32 change = 1u << bit == also ? 0 : also, believed = real ^ 1u << bit;
        vmcs_write(cr->guest, real);
        own(cr, 1u << bit, believed & 1u << bit);
        struct vm_exit exit = l2_try_with(code, believed ^ change);
        bool unchanged = vmcs_read(cr->guest) == (real ^ change);
        sweep_turn(&sweep, bit, executed(&exit, code) && unchanged, &exit, code);
        if (exit.registers.eax == (believed ^ change))
            reads |= 1u << bit;
    }
    must_all(&sweep, EACH_BIT);
    must("right_reads", reads, EACH_BIT);
}

CHECK(cr0_stays, "M-02/cr0-each-bit", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that writes a masked bit as its shadow is does not exit, and L2 reads the shadow, for each clear or "
      "set bit")
{
    each_bit_stays(&cr0, &cr0_there_and_back, L2_CR0, 0);
}

CHECK(cr0_stays_set, "M-02/cr0-each-bit-set", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that writes 0 to a masked MP, EM, TS, WP or AM, set with shadow 0, does not exit, and L2 reads 0")
{
    each_bit_stays(&cr0, &cr0_there_and_back, L2_CR0 | CR0_MODE_BITS, 0);
}

CHECK(cr0_stays_beside, "M-02/cr0-each-bit-beside-am", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that writes a masked bit as its shadow is and sets AM leaves the bit, and L2 reads shadow and AM")
{
    each_bit_stays(&cr0, &cr0_there_and_back, L2_CR0, CR0_AM);
}

CHECK(cr0_stays_set_beside, "M-02/cr0-each-bit-set-beside-am", NEEDS_L2, SDM_CHANGES,
      "MOV to CR0 that writes 0 to a masked MP, EM, TS or WP, set with shadow 0, and clears AM leaves the bit")
{
    each_bit_stays(&cr0, &cr0_there_and_back, L2_CR0 | CR0_MODE_BITS, CR0_AM);
}

CHECK(cr4_stays, "M-02/cr4-each-bit", NEEDS_L2, SDM_CHANGES,
      "MOV to CR4 that writes a masked bit as its shadow is neither exits nor faults, and L2 reads the shadow")
{
    each_bit_stays(&cr4, &cr4_there_and_back, L2_CR4, 0);
}

CHECK(cr4_stays_set, "M-02/cr4-each-bit-set", NEEDS_L2, SDM_CHANGES,
      "MOV to CR4 that writes 0 to a masked TSD, PSE or PAE, set with shadow 0, does not exit, and L2 reads 0")
{
    each_bit_stays(&cr4, &cr4_there_and_back, L2_CR4 | CR4_TSD | CR4_PSE | CR4_PAE, 0);
}

CHECK(cr4_stays_beside, "M-02/cr4-each-bit-beside-mce", NEEDS_L2, SDM_CHANGES,
      "MOV to CR4 that writes a masked bit as its shadow is and sets MCE leaves the bit, and L2 reads shadow and MCE")
{
    each_bit_stays(&cr4, &cr4_there_and_back, L2_CR4, CR4_MCE);
}

/* L1 owns the bit. L2 writes it as its shadow is, alone or together with a bit of its own, and the real bit stays. */
static void mov_keeps(const struct effect *effect)
{
    must_keep(effect, BY_MOV, ALONE);
    must_keep(effect, BY_MOV, WITH_ANOTHER);
}

#define MOV_KEEPS(cr, bit, shown_by)                                                                                   \
    "MOV to " cr " that writes a masked " bit " as its shadow is leaves the real " bit ", as " shown_by " shows"

CHECK(keeps_pe, "M-02/pe", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "PE", "a load of FS"))
{
    mov_keeps(&effect_pe);
}

CHECK(keeps_mp, "M-02/mp", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "MP", "FWAIT with TS=1"))
{
    mov_keeps(&effect_mp);
}

CHECK(keeps_em, "M-02/em", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "EM", "FNINIT"))
{
    mov_keeps(&effect_em);
}

CHECK(keeps_ts, "M-02/ts", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "TS", "FNINIT"))
{
    mov_keeps(&effect_ts);
}

CHECK(keeps_wp, "M-02/wp", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "WP", "a write to a read-only page"))
{
    mov_keeps(&effect_wp);
}

CHECK(keeps_am, "M-02/am", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "AM", "an unaligned read at CPL 3"))
{
    mov_keeps(&effect_am);
}

CHECK(keeps_pg, "M-02/pg", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR0", "PG", "a read of a page mapped to another"))
{
    mov_keeps(&effect_pg);
}

CHECK(keeps_tsd, "M-02/tsd", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "TSD", "RDTSC at CPL 3"))
{
    need(FEATURE_TSC);
    mov_keeps(&effect_tsd);
}

CHECK(keeps_de, "M-02/de", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "DE", "MOV from DR4"))
{
    need(FEATURE_DE);
    mov_keeps(&effect_de);
}

CHECK(keeps_pse, "M-02/pse", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "PSE", "a read through a PDE with PS=1"))
{
    mov_keeps(&effect_pse);
}

CHECK(keeps_pae, "M-02/pae", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "PAE", "a read with other tables for PAE paging"))
{
    mov_keeps(&effect_pae);
}

CHECK(keeps_osfxsr, "M-02/osfxsr", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "OSFXSR", "XORPS"))
{
    need(FEATURE_SSE);
    mov_keeps(&effect_osfxsr);
}

CHECK(keeps_osxsave, "M-02/osxsave", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "OSXSAVE", "XGETBV"))
{
    need(FEATURE_XSAVE);
    mov_keeps(&effect_osxsave);
}

CHECK(keeps_smep, "M-02/smep", NEEDS_L2, SDM_CHANGES, MOV_KEEPS("CR4", "SMEP", "a fetch from a user page"))
{
    need(FEATURE_SMEP);
    mov_keeps(&effect_smep);
}
