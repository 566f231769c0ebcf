/* W-21, W-23 and W-24: two EPTs, and VMFUNC, which switches L2 to another EPT of L1's list. */
#include "stage.h"

#include "vectors.h"

enum { EPTP_SWITCHING = 1 << 0, LIST_ENTRIES = 512, FUNCTIONS = 64, VMFUNC_BYTES = 3 };
enum { FIRST = 0xF125, SECOND = 0x5EC0 };
#define EPTP_SWITCHING_SDM "EPTP Switching (Vol. 3, 26.5.6.3)"
#define VMFUNC_SDM "VM Functions (Vol. 3, 26.5.6)"
#define ADDRESS_BITS 0x000FFFFFFFFFF000u

static u64 list[LIST_ENTRIES] PAGE_ALIGNED;
static u32 second_page[PAGE_SIZE / sizeof(u32)] PAGE_ALIGNED;

/* A second EPT, which is as the first but for OWN_PDPTE's GiB: `second_page` lies there. */
static struct {
    u64 pml4[512], pdpt[512], directory[512], table[512];
} other PAGE_ALIGNED;

static u64 second_ept(void)
{
    other.pml4[0] = address_of(other.pdpt) | EPT_ALL;
    other.pdpt[0] = *ept_entry(0, EPT_PDPTE);
    other.pdpt[1] = address_of(other.directory) | EPT_ALL;
    other.directory[0] = address_of(other.table) | EPT_ALL;
    other.table[0] = address_of(second_page) | EPT_WRITE_BACK | EPT_ALL;
    return address_of(other.pml4) | (ept_pointer() & ~ADDRESS_BITS);
}

L2_CODE(switches, "vmfunc; movl (%esi), %edi");

static u32 word_of_window(void)
{
    return (u32)(l2_window_linear(L2_READ) % PAGE_SIZE / sizeof(u32));
}

/* L2 about to execute VMFUNC with this EAX and ECX, and then to read the window. All entries of the list are 0, all but
   those of `index` and the last. */
static void about_to_switch(u32 function, u32 index)
{
    window_at(PAGING_PAE, OWN_PDPTE);
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_VM_FUNCTIONS, "no VM functions");
    if (!(read_msr(IA32_VMX_VMFUNC) & EPTP_SWITCHING))
        skip("no EPTP switching");
    for (u32 entry = 0; entry < LIST_ENTRIES; entry++)
        list[entry] = 0;
    list[index % LIST_ENTRIES] = list[LIST_ENTRIES - 1] = second_ept();
    vmcs_write64(VM_FUNCTION_CONTROLS, EPTP_SWITCHING);
    vmcs_write64(EPTP_LIST_ADDRESS, address_of(list));
    ((u32 *)l2_window_page)[word_of_window()] = FIRST;
    second_page[word_of_window()] = SECOND;
    l2_registers.eax = function;
    l2_registers.ecx = index;
    l2_registers.esi = (u32)l2_window_linear(L2_READ);
}

static void must_switch(u32 index)
{
    about_to_switch(0, index);
    struct vm_exit exit = l2_try(&switches);
    must_execute(&exit, &switches);
    must("edi", exit.registers.edi, SECOND);
    must("ept_pointer", vmcs_read64(EPT_POINTER), list[index]);
}

/* VMFUNC exits, and L2 goes on with the EPT it had. */
static void must_exit_for_vmfunc(void)
{
    struct vm_exit exit = l2_try(&switches);
    must("exit_reason", exit.reason, EXIT_VMFUNC);
    must_stop_at(&exit, switches.start);
    must("exit_instruction_length", exit.instruction_length, VMFUNC_BYTES);
    must("exit_qualification", exit.qualification, 0);
    must("ept_pointer", vmcs_read64(EPT_POINTER), ept_pointer());
    saw_exit(&exit, switches.start);
    struct vm_exit read = l2_window_access(L2_READ);
    must("eax", read.registers.eax, FIRST);
}

CHECK(switched, "W-23/switch", NEEDS_L2, EPTP_SWITCHING_SDM,
      "VMFUNC with EAX=0 switches L2 to the EPT whose EPTP is entry ECX of the list, and causes no VM exit")
{
    must_switch(1);
}

CHECK(switched_to_last, "W-23/index-511", NEEDS_L2, EPTP_SWITCHING_SDM,
      "VMFUNC with EAX=0 and ECX=511 executes and loads EPTP from the last entry of the list")
{
    must_switch(LIST_ENTRIES - 1);
}

CHECK(switched_and_back, "W-23/persists", NEEDS_L2, EPTP_SWITCHING_SDM,
      "VM entry keeps the EPTP that VMFUNC has loaded, and VMFUNC executes a second time to go back")
{
    about_to_switch(0, 1);
    list[0] = ept_pointer();
    struct vm_exit exit = l2_try(&switches);
    must("first_edi", exit.registers.edi, SECOND);
    must("eax_after_entry", l2_window_access(L2_READ).registers.eax, SECOND);
    l2_registers.eax = l2_registers.ecx = 0;
    exit = l2_try(&switches);
    must_execute(&exit, &switches);
    must("edi", exit.registers.edi, FIRST);
}

CHECK(index_512, "W-23/index-512", NEEDS_L2, EPTP_SWITCHING_SDM, "VMFUNC with EAX=0 and ECX=512 causes a VM exit")
{
    about_to_switch(0, LIST_ENTRIES);
    must_exit_for_vmfunc();
}

CHECK(index_all_ones, "W-23/index-highest", NEEDS_L2, EPTP_SWITCHING_SDM,
      "VMFUNC with EAX=0 and ECX=FFFFFFFFh causes a VM exit")
{
    about_to_switch(0, 0xFFFFFFFF);
    must_exit_for_vmfunc();
}

/* Everything that VM entry refuses in an EPTP. */
/* L2 uses one EPT and then the other; a right is withdrawn in the first, and flushed while the second is in use. */
static void withdrawn_in_the_first(u32 type, u64 eptp)
{
    window_at(PAGING_PAE, OWN_PDPTE);
    ((u32 *)l2_window_page)[word_of_window()] = FIRST;
    second_page[word_of_window()] = SECOND;
    must("first_eax", l2_window_access(L2_READ).registers.eax, FIRST);
    vmcs_write64(EPT_POINTER, second_ept());
    must("second_eax", l2_window_access(L2_READ).registers.eax, SECOND);
    *ept_entry(OWN_PDPTE, EPT_PTE) = 0;
    must("invept", vmx_invept(type, &(struct invept_descriptor){ eptp, 0 }), VM_SUCCEED);
    must("eax_after_invept", l2_window_access(L2_READ).registers.eax, SECOND);
    vmcs_write64(EPT_POINTER, ept_pointer());
    access_must(L2_READ, l2_window_outcome(L2_READ, EPT_NOTHING, OWN_PDPTE));
}

CHECK(other_root_single, "W-21/other-eptp-single-context", NEEDS_L2, INVALIDATION,
      "L2 exits when it comes back to an EPT that lost a right and was flushed by single-context INVEPT in between")
{
    if (!(ept_capabilities() & EPT_CAPABILITY_INVEPT_SINGLE))
        skip("no single-context INVEPT");
    withdrawn_in_the_first(SINGLE_CONTEXT, ept_pointer());
}

CHECK(other_root_all, "W-21/other-eptp-all-contexts", NEEDS_L2, INVALIDATION,
      "L2 exits when it comes back to an EPT that lost a right and was flushed by all-context INVEPT in between")
{
    if (!(ept_capabilities() & EPT_CAPABILITY_INVEPT_ALL))
        skip("no all-context INVEPT");
    withdrawn_in_the_first(ALL_CONTEXTS, 0);
}

CHECK(bad_pointers, "W-23/eptp", NEEDS_L2, EPTP_SWITCHING_SDM "; Checks on VMX Controls (Vol. 3, 27.2.1)",
      "VMFUNC causes a VM exit for each EPTP in the list that VM entry does not take")
{
    static const struct {
        u64 clear, set;
    } edits[] = { { 7, 1 }, { 7, 5 }, { 7, 7 }, { 7, 2 }, { 0x38, 0 }, { 0x38, 2 << 3 }, { 0x38, 7 << 3 },
                  { 0, 1 << 8 }, { 0, 1 << 11 }, { 0, (u64)1 << 51 }, { 0, (u64)1 << 52 }, { 0, (u64)1 << 63 } };
    struct tally tally = { 0 };
    about_to_switch(0, 1);
    for (u32 index = 0; index < ARRAY_SIZE(edits); index++) {
        list[1] = (second_ept() & ~edits[index].clear) | edits[index].set;
        l2_registers.eax = 0;
        l2_registers.ecx = 1;
        struct vm_exit exit = l2_try(&switches);
        tally_turn(&tally, list[1] ^ second_ept(), exit.reason, EXIT_VMFUNC);
        vmcs_write64(EPT_POINTER, ept_pointer());
    }
    must_tally(&tally);
}

CHECK(disabled_functions, "W-23/disabled", NEEDS_L2, VMFUNC_SDM,
      "VMFUNC with EAX from 1 to 63 causes a VM exit while bit EAX of the VM-function controls is 0, and so does EAX=0")
{
    struct tally tally = { 0 };
    about_to_switch(0, 1);
    vmcs_write64(VM_FUNCTION_CONTROLS, 0);
    for (u32 function = 0; function < FUNCTIONS; function++) {
        l2_registers.eax = function;
        l2_registers.ecx = 1;
        struct vm_exit exit = l2_try(&switches);
        tally_turn(&tally, function, exit.reason, EXIT_VMFUNC);
    }
    must_tally(&tally);
}

CHECK(no_function, "W-23/eax-64", NEEDS_L2, VMFUNC_SDM, "VMFUNC with EAX=64 or above causes #UD in L2")
{
    static const u32 functions[] = { 64, 65, 0x100, 0x80000000, 0xFFFFFFFF };
    struct tally tally = { 0 };
    about_to_switch(0, 1);
    for (u32 index = 0; index < ARRAY_SIZE(functions); index++) {
        l2_registers.eax = functions[index];
        struct vm_exit exit = l2_try(&switches);
        tally_turn(&tally, functions[index], exit.exception ? exit.vector : 0x100 | exit.reason, VECTOR_UD);
    }
    must_tally(&tally);
}

CHECK(not_enabled, "W-23/not-enabled", NEEDS_L2, VMFUNC_SDM,
      "VMFUNC causes #UD in L2 when the enable-VM-functions control is 0")
{
    about_to_switch(0, 1);
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_VM_FUNCTIONS, "VM functions are fixed to 1");
    struct vm_exit exit = l2_try(&switches);
    must_take_exception(&exit, &switches, VECTOR_UD, 0);
}

/* OWN_PDPTE holds PDPTEs: in the first EPT those that L2 has in its registers, in the second others, which lead to
   nothing. */
L2_CODE(switches_and_reads, "vmfunc; movl (%ebx), %edi");
L2_CODE(switches_and_loads, "vmfunc; movl %ebp, %cr3; movl (%ebx), %edi");

static struct vm_exit switch_under_pae(const struct l2_code *code)
{
    about_to_switch(0, 1);
    for (u32 index = 0; index < 4; index++) {
        ((u64 *)l2_window_page)[index] = l2_tables.pae.pdpt[index];
        ((u64 *)second_page)[index] = index == 1 ? 0 : l2_tables.pae.pdpt[index];
    }
    vmcs_write(GUEST_CR3, OWN_PDPTE);
    vmcs_write(EXCEPTION_BITMAP, 1 << VECTOR_PF);
    l2_registers.ebx = (u32)l2_window_linear(L2_READ);
    l2_registers.ebp = OWN_PDPTE;
    return l2_try(code);
}

CHECK(registers_kept, "W-24/kept", NEEDS_L2, EPTP_SWITCHING_SDM "; PDPTE Registers (Vol. 3, 4.4.1)",
      "VMFUNC under PAE paging executes without a load of the PDPTEs")
{
    struct vm_exit exit = switch_under_pae(&switches_and_reads);
    must_execute(&exit, &switches_and_reads);
    must("edi", exit.registers.edi, SECOND);
    must_hold_pdptes(&exit, l2_tables.pae.pdpt);
}

CHECK(registers_loaded, "W-24/mov-cr3", NEEDS_L2, EPTP_SWITCHING_SDM "; PDPTE Registers (Vol. 3, 4.4.1)",
      "MOV to CR3 after VMFUNC loads the PDPTEs through the new EPT")
{
    struct vm_exit exit = switch_under_pae(&switches_and_loads);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("vector", exit.vector, VECTOR_PF);
    must("cr2", exit.exception_cr2, l2_window_linear(L2_READ));
    must("guest_pdpte1", exit.pdpte[1] & PTE_PRESENT, 0);
}
