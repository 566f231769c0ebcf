/* L2-13 to L2-20: which moves to a control register load the PDPTEs, shown by EPT violations, and by their absence. */
#include "stage.h"

#include "feature.h"

static u64 *const pdpt = l2_tables.pae.pdpt;

static void load_by(const char *instruction, u32 operand)
{
    about_to(instruction, operand);
    run_must_load(pdpt);
}

static void violate_by(const char *instruction, u32 operand)
{
    about_to(instruction, operand);
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(pse_mapped, "L2-13/mapped", NEEDS_L2, PDPTE_REGISTERS, "Control: MOV to CR4 that toggles PSE loads the PDPTEs")
{
    load_by(l2_mov_cr4, L2_CR4 | CR4_PSE);
}

CHECK(pse, "L2-13/pse", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR4 that toggles PSE causes an EPT violation when CR3's page is absent from EPT")
{
    violate_by(l2_mov_cr4, L2_CR4 | CR4_PSE);
}

CHECK(smep_mapped, "L2-14/mapped", NEEDS_L2, PDPTE_REGISTERS, "Control: MOV to CR4 that toggles SMEP loads the PDPTEs")
{
    need(FEATURE_SMEP);
    load_by(l2_mov_cr4, L2_CR4 | CR4_SMEP);
}

CHECK(smep_unmapped, "L2-14/smep", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR4 that toggles SMEP causes an EPT violation when CR3's page is absent from EPT")
{
    need(FEATURE_SMEP);
    violate_by(l2_mov_cr4, L2_CR4 | CR4_SMEP);
}

/* L2 turns from 32-bit to PAE paging, CR4.PAE 0 -> 1 with CR0.PG = 1. The page that must be absent holds both tables,
   the page directory, and the PDPTEs at FE0h: it goes out of use and comes back by MOV to CR3 alone, while L2's code
   lives on in a global translation. A CPU need not keep that ("Global Pages"): then there is nothing to see here. */
static union {
    u32 pdes[1024];
    u64 pdptes[512];
} both_tables PAGE_ALIGNED;
static u64 *const pdptes_in_both = both_tables.pdptes + 508;

extern const char l2_turns_to_pae[], l2_sets_pae[];
asm(".pushsection .text\n"
    "l2_turns_to_pae: movl %ecx, %cr3\n"
    "l2_sets_pae:     movl %eax, %cr4\n"
    "                 movl $0x600D, %eax\n"
    "                 vmcall\n"
    ".popsection\n");

static const struct control_registers in_32_bit_paging = { L2_CR0 | CR0_PG, 0, CR4_VMXE | CR4_PSE | CR4_PGE };

static struct control_registers about_to_set_pae(void)
{
    struct control_registers registers = in_32_bit_paging;
    registers.cr3 = address_of(pdptes_in_both);
    l2_prepare(l2_turns_to_pae);
    l2_use_pae_paging();
    l2_use_32_bit_paging();
    l2_tables.directory[0] |= PTE_GLOBAL;
    identity_32_bit(both_tables.pdes);
    both_tables.pdes[0] |= PTE_GLOBAL;
    for (u32 index = 0; index < 4; index++)
        pdptes_in_both[index] = pdpt[index];
    l2_registers.eax = registers.cr4 | CR4_PAE;
    l2_registers.ecx = registers.cr3;
    vmcs_write(GUEST_CR4, registers.cr4);
    l2_turn_paging_on();
    return registers;
}

CHECK(pae_mapped, "L2-15/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR4 that sets PAE under 32-bit paging loads the PDPTEs")
{
    struct control_registers registers = about_to_set_pae();
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("eax", exit.registers.eax, REACHED_END);
    registers.cr4 |= CR4_PAE;
    must_have(&exit, registers);
    must_hold_pdptes(&exit, pdptes_in_both);
    saw_exit(&exit, l2_sets_pae);
}

CHECK(pae, "L2-15/pae", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR4 that sets PAE under 32-bit paging causes an EPT violation when CR3's page is absent from EPT")
{
    enum { LINEAR_VALID = 1 << 7 };
    struct control_registers registers = about_to_set_pae();
    ept_protect(&both_tables, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    bool fetch = exit.rip == address_of(l2_sets_pae) && !(exit.idt_vectoring_information >> 31);
    if (fetch && exit.reason == EXIT_EPT_VIOLATION && exit.qualification & LINEAR_VALID)
        skip("this CPU did not keep the global translation of L2's code");
    must_violate_at_pdptes(&exit, registers.cr3, EPT_NOTHING);
    must_stop_at(&exit, l2_sets_pae);
    must_have(&exit, registers);
    saw_exit(&exit, l2_sets_pae);
}

CHECK(pge_mapped, "L2-16/mapped", NEEDS_L2, PDPTE_REGISTERS, "Control: MOV to CR4 that toggles PGE loads the PDPTEs")
{
    load_by(l2_mov_cr4, L2_CR4 | CR4_PGE);
}

CHECK(pge, "L2-16/pge", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR4 that toggles PGE causes an EPT violation when CR3's page is absent from EPT")
{
    violate_by(l2_mov_cr4, L2_CR4 | CR4_PGE);
}

/* A hypervisor below L1 may leave PGE alone to the CPU, and MCE not. */
CHECK(pge_beside_mapped, "L2-16/beside-mce-mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR4 that toggles PGE and MCE loads the PDPTEs")
{
    load_by(l2_mov_cr4, L2_CR4 | CR4_PGE | CR4_MCE);
}

CHECK(pge_beside, "L2-16/beside-mce", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR4 that toggles PGE and MCE causes an EPT violation when CR3's page is absent from EPT")
{
    violate_by(l2_mov_cr4, L2_CR4 | CR4_PGE | CR4_MCE);
}

CHECK(cr3_mapped, "L2-17/mapped", NEEDS_L2, PDPTE_REGISTERS, "Control: MOV to CR3 loads the PDPTEs of the new table")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    run_must_load(other_pdpt);
}

CHECK(cr3_unmapped, "L2-17/mov-cr3", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR3 causes an EPT violation at the new table and keeps CR3 when that table is absent from EPT")
{
    about_to(l2_mov_cr3, address_of(other_pdpt));
    ept_protect(other_pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}

CHECK(cr3_same, "L2-17/same-value", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR3 of the value that it has causes an EPT violation when CR3's page is absent from EPT")
{
    violate_by(l2_mov_cr3, address_of(pdpt));
}

/* CR0.CD and NW outlive VM entries and exits ("VMX Instructions and Caching", "Loading Guest Control Registers"): L1
   has to set them for L2, and to clear what L2 has set. */
static void caches(u32 bits)
{
    write_cr0((read_cr0() & ~(CR0_CD | CR0_NW)) | bits);
}

CHECK(cd_mapped, "L2-18/cd-mapped", NEEDS_L2, PDPTE_REGISTERS, "Control: MOV to CR0 that sets CD loads the PDPTEs")
{
    load_by(l2_mov_cr0, L2_CR0 | CR0_PG | CR0_CD);
    caches(0);
}

CHECK(cd, "L2-18/cd", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR0 that sets CD causes an EPT violation when CR3's page is absent from EPT")
{
    violate_by(l2_mov_cr0, L2_CR0 | CR0_PG | CR0_CD);
    caches(0);
}

static void about_to_set_nw(void)
{
    caches(CR0_CD);
    about_to(l2_mov_cr0, L2_CR0 | CR0_PG | CR0_CD | CR0_NW);
    starts_with_cr0(L2_CR0 | CR0_PG | CR0_CD);
}

CHECK(nw_mapped, "L2-18/nw-mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 that sets NW with CD=1 loads the PDPTEs")
{
    about_to_set_nw();
    run_must_load(pdpt);
    caches(0);
}

CHECK(nw, "L2-18/nw", NEEDS_L2, PDPTE_REGISTERS,
      "MOV to CR0 that sets NW with CD=1 causes an EPT violation when CR3's page is absent from EPT")
{
    about_to_set_nw();
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
    caches(0);
}

CHECK(toggle_mapped, "L2-19/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 that toggles WP executes when EPT maps CR3's page")
{
    about_to(l2_mov_cr0, L2_CR0 | CR0_PG | CR0_WP);
    for (u32 index = 0; index < 4; index++)
        pdpt[index] &= ~(u64)PDPTE_PWT; /* as the registers have it: whether it is loaded does not show */
    run_must_not_load();
}

static void pass_by(const char *instruction, u32 operand)
{
    about_to(instruction, operand);
    ept_protect(pdpt, EPT_NOTHING);
    run_must_not_load();
}

#define NO_LOAD(bit, name)                                                                                             \
    CHECK(toggle_##bit, "L2-19/" name, NEEDS_L2, PDPTE_REGISTERS,                                                      \
          "MOV to CR0 that toggles " #bit " executes although CR3's page is absent from EPT")                          \
    {                                                                                                                  \
        pass_by(l2_mov_cr0, L2_CR0 | CR0_PG | CR0_##bit);                                                              \
    }
NO_LOAD(WP, "wp")
NO_LOAD(AM, "am")
NO_LOAD(TS, "ts")
NO_LOAD(MP, "mp")
NO_LOAD(EM, "em")

CHECK(lmsw, "L2-19/lmsw", NEEDS_L2, PDPTE_REGISTERS,
      "LMSW that sets TS, EM and MP executes although CR3's page is absent from EPT")
{
    pass_by(l2_lmsw, CR0_PE | CR0_MP | CR0_EM | CR0_TS);
}

CHECK(clts, "L2-19/clts", NEEDS_L2, PDPTE_REGISTERS, "CLTS executes although CR3's page is absent from EPT")
{
    about_to(l2_clts, 0);
    starts_with_cr0(L2_CR0 | CR0_PG | CR0_TS);
    ept_protect(pdpt, EPT_NOTHING);
    run_must_not_load();
}

CHECK(intercepted_mapped, "L2-20/mapped", NEEDS_L2, PDPTE_REGISTERS,
      "Control: MOV to CR0 sets PG when #GP is intercepted and EPT maps CR3's page")
{
    about_to_set_pg();
    vmcs_write(EXCEPTION_BITMAP, 1 << GENERAL_PROTECTION);
    run_must_load(pdpt);
}

CHECK(intercepted, "L2-20/gp-intercepted", NEEDS_L2, EPT_VIOLATIONS,
      "MOV to CR0 that sets PG exits for an EPT violation, not for an intercepted #GP, when CR3's page is absent from "
      "EPT")
{
    about_to_set_pg();
    vmcs_write(EXCEPTION_BITMAP, 1 << GENERAL_PROTECTION);
    ept_protect(pdpt, EPT_NOTHING);
    run_must_violate(EPT_NOTHING);
}
