/* Physical addresses in control fields: alignment and width, and no check of what is not in use. */
#include "stage.h"

static u8 area[4 * PAGE_SIZE] PAGE_ALIGNED;

/* A structure that a control brings into use. */
struct structure {
    u32 address, controls, control;
    const char *absent;
};

static void use(const struct structure *structure)
{
    entry_prepare();
    vmcs_write64(structure->address, address_of(area));
    vmcs_write(TPR_THRESHOLD, 0);
    vmcs_set_controls(structure->controls, structure->control, structure->absent);
}

/* Each bit of the address that must be 0 is 1 in turn; `low` are those of its alignment. */
static void must_check_address(const struct structure *structure, u64 low)
{
    struct tally tally = { 0 };
    use(structure);
    sweep_bits(&tally, structure->address, low | beyond_physical_addresses(), ENTRY_CONTROLS_INVALID);
    vmcs_clear_controls(structure->controls, structure->control, "the control cannot be off");
    SWEEP_VALUES(&tally, structure->address, ENTRY_RAN, ~(u64)0);
    must_tally(&tally);
}

#define ADDRESS_CHECK(ident, id, field, controls, control, absent, what)                                     \
    CHECK(ident, "E-24/" id, NEEDS_L2, SDM_EXECUTION,                                                        \
          "VM entry fails with error 7 for each bad bit of the address of " what ", if that is in use")      \
    {                                                                                                        \
        must_check_address(&(struct structure){ field, controls, control, absent }, BITS(0, 11));            \
    }
#define PRIMARY PRIMARY_PROCESSOR_BASED_CONTROLS
#define SECONDARY SECONDARY_PROCESSOR_BASED_CONTROLS
ADDRESS_CHECK(io_a, "io-bitmap-a", IO_BITMAP_A_ADDRESS, PRIMARY, USE_IO_BITMAPS, "no I/O bitmaps", "I/O bitmap A")
ADDRESS_CHECK(io_b, "io-bitmap-b", IO_BITMAP_B_ADDRESS, PRIMARY, USE_IO_BITMAPS, "no I/O bitmaps", "I/O bitmap B")
ADDRESS_CHECK(msr, "msr-bitmaps", MSR_BITMAPS_ADDRESS, PRIMARY, USE_MSR_BITMAPS, "no MSR bitmaps", "the MSR bitmaps")
ADDRESS_CHECK(apic, "virtual-apic", VIRTUAL_APIC_ADDRESS, PRIMARY, USE_TPR_SHADOW, "no TPR shadow",
              "the virtual-APIC page")
ADDRESS_CHECK(accesses, "apic-access", APIC_ACCESS_ADDRESS, SECONDARY, VIRTUALIZE_APIC_ACCESSES,
              "no virtualized APIC accesses", "the APIC-access page")
ADDRESS_CHECK(log, "pml", PML_ADDRESS, SECONDARY, ENABLE_PML, "no page-modification logging", "the log of pages")
ADDRESS_CHECK(vmread, "vmread-bitmap", VMREAD_BITMAP_ADDRESS, SECONDARY, VMCS_SHADOWING, "no VMCS shadowing",
              "the VMREAD bitmap")
ADDRESS_CHECK(vmwrite, "vmwrite-bitmap", VMWRITE_BITMAP_ADDRESS, SECONDARY, VMCS_SHADOWING, "no VMCS shadowing",
              "the VMWRITE bitmap")
ADDRESS_CHECK(virtualization, "virtualization-exception", VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS, SECONDARY,
              EPT_VIOLATION_VE, "no virtualization exceptions", "the virtualization-exception area")

/* VM functions: the controls of their own field, and the list of EPT pointers. */
enum { EPTP_SWITCHING = 1 };

static void with_vm_functions(u32 functions)
{
    entry_prepare();
    vmcs_set_controls(SECONDARY, ENABLE_VM_FUNCTIONS, "no VM functions");
    if (~read_msr(IA32_VMX_VMFUNC) & functions)
        skip("no EPTP switching");
    vmcs_write64(VM_FUNCTION_CONTROLS, functions);
    vmcs_write64(EPTP_LIST_ADDRESS, address_of(area));
}

CHECK(functions, "E-24/vm-functions", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each VM function that the CPU does not have, if these are enabled")
{
    struct tally tally = { 0 };
    with_vm_functions(0);
    sweep_bits(&tally, VM_FUNCTION_CONTROLS, ~read_msr(IA32_VMX_VMFUNC), ENTRY_CONTROLS_INVALID);
    vmcs_clear_controls(SECONDARY, ENABLE_VM_FUNCTIONS, "VM functions cannot be off");
    SWEEP_VALUES(&tally, VM_FUNCTION_CONTROLS, ENTRY_RAN, ~(u64)0);
    must_tally(&tally);
}

CHECK(list, "E-24/eptp-list", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each bad bit of the EPTP-list address when EPTP switching is enabled")
{
    struct tally tally = { 0 };
    with_vm_functions(EPTP_SWITCHING);
    sweep_bits(&tally, EPTP_LIST_ADDRESS, BITS(0, 11) | beyond_physical_addresses(), ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

CHECK(switching, "E-24/eptp-switching-without-ept", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for EPTP switching without EPT")
{
    with_vm_functions(EPTP_SWITCHING);
    without_ept();
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

/* The areas of MSRs: three counts with three addresses. An entry has 16 bytes. */
enum { ENTRY_BYTES = 16, IA32_SYSENTER_EIP = 0x176 };

static void must_check_area(u32 address, u32 count)
{
    struct tally tally = { 0 };
    u32 *entry = (u32 *)area;
    entry_prepare();
    vmcs_write64(address, ~(u64)0);
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN); /* none: the address is not looked at */
    entry[0] = entry[4] = IA32_SYSENTER_EIP;
    vmcs_write64(address, address_of(area));
    vmcs_write(count, 1);
    sweep_bits(&tally, address, BITS(0, 3) | beyond_physical_addresses(), ENTRY_CONTROLS_INVALID);
    /* Two entries at the end of the physical addresses: the second one lies beyond it. */
    vmcs_write(count, 2);
    SWEEP_VALUES(&tally, address, ENTRY_CONTROLS_INVALID, BITS(4, physical_address_bits() - 1));
    must_tally(&tally);
}

CHECK(stored, "E-24/exit-msr-store", NEEDS_L2, SDM_EXIT_CONTROLS,
      "VM entry fails with error 7 for each bad bit of the VM-exit MSR-store address, if the count is not 0")
{
    must_check_area(VM_EXIT_MSR_STORE_ADDRESS, VM_EXIT_MSR_STORE_COUNT);
}

CHECK(loaded, "E-24/exit-msr-load", NEEDS_L2, SDM_EXIT_CONTROLS,
      "VM entry fails with error 7 for each bad bit of the VM-exit MSR-load address, if the count is not 0")
{
    must_check_area(VM_EXIT_MSR_LOAD_ADDRESS, VM_EXIT_MSR_LOAD_COUNT);
}

CHECK(entry_loaded, "E-24/entry-msr-load", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for each bad bit of the VM-entry MSR-load address, if the count is not 0")
{
    must_check_area(VM_ENTRY_MSR_LOAD_ADDRESS, VM_ENTRY_MSR_LOAD_COUNT);
}

/* The EPT pointer. */
enum { MEMORY_TYPE = 7, WALK_SHIFT = 3, WALK_4 = 3, WALK_5 = 4, ACCESSED_DIRTY = 1 << 6, SHADOW_STACK = 1 << 7 };
#define EPT_CAPABILITY_SHADOW_STACK ((u64)1 << 23)

CHECK(memory_type, "E-17/memory-type", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each memory type of the EPT pointer that the CPU does not report")
{
    struct tally tally = { 0 };
    entry_prepare();
    u64 pointer = vmcs_read64(EPT_POINTER) & ~(u64)MEMORY_TYPE;
    for (u64 type = 0; type <= MEMORY_TYPE; type++) {
        bool has = (type == 0 && ept_capabilities() & EPT_CAPABILITY_UNCACHEABLE) ||
                   (type == 6 && ept_capabilities() & EPT_CAPABILITY_WRITE_BACK);
        SWEEP_VALUES(&tally, EPT_POINTER, has ? ENTRY_RAN : ENTRY_CONTROLS_INVALID, pointer | type);
    }
    must_tally(&tally);
}

CHECK(walk, "E-17/walk-length", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each page-walk length of the EPT pointer that the CPU does not report")
{
    struct tally tally = { 0 };
    entry_prepare();
    u64 pointer = vmcs_read64(EPT_POINTER) & ~((u64)7 << WALK_SHIFT);
    for (u64 length = 0; length < 8; length++)
        if (length != WALK_5 || !(ept_capabilities() & EPT_CAPABILITY_WALK_5))
            SWEEP_VALUES(&tally, EPT_POINTER, length == WALK_4 ? ENTRY_RAN : ENTRY_CONTROLS_INVALID,
                         pointer | length << WALK_SHIFT);
    must_tally(&tally);
}

CHECK(pointer_bits, "E-17/reserved", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each reserved bit of the EPT pointer")
{
    struct tally tally = { 0 };
    entry_prepare();
    u64 bits = BITS(8, 11) | beyond_physical_addresses();
    bits |= ept_capabilities() & EPT_CAPABILITY_SHADOW_STACK ? 0 : SHADOW_STACK;
    bits |= ept_capabilities() & EPT_CAPABILITY_ACCESSED_DIRTY ? 0 : ACCESSED_DIRTY;
    sweep_bits(&tally, EPT_POINTER, bits, ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

CHECK(pointer_unused, "E-17/control-without-ept", NEEDS_L2, SDM_EXECUTION,
      "Control: VM entry succeeds without EPT whatever the EPT pointer is")
{
    entry_prepare();
    without_ept();
    vmcs_write64(EPT_POINTER, ~(u64)0);
    must_enter();
}

CHECK(pointer_flags, "E-17/control-accessed-dirty", NEEDS_L2, SDM_EXECUTION,
      "Control: VM entry succeeds with accessed and dirty flags of EPT where the CPU reports them")
{
    entry_prepare();
    if (!(ept_capabilities() & EPT_CAPABILITY_ACCESSED_DIRTY))
        skip("no accessed and dirty flags for EPT");
    vmcs_write64(EPT_POINTER, vmcs_read64(EPT_POINTER) | ACCESSED_DIRTY);
    must_enter();
}
