/* Control fields: bits that the CPU does not allow, and controls that do not go together. */
#include "stage.h"

/* In turn, each bit of a control field that must be 1 is 0, and each that must be 0 is 1. */
static void sweep_reserved(u32 field)
{
    struct tally tally = { 0 };
    entry_prepare();
    u32 value = vmcs_read(field);
    u64 allowed = vmcs_allowed_controls(field);
    sweep_bits(&tally, field, (value & (u32)allowed) | (~value & ~(u32)(allowed >> 32)), ENTRY_CONTROLS_INVALID);
    tally_turn(&tally, value, entry_try(), ENTRY_RAN);
    must_tally(&tally);
}

CHECK(reserved_pin, "E-21/pin-based", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each pin-based control that has a value the CPU does not allow")
{
    sweep_reserved(PIN_BASED_CONTROLS);
}

CHECK(reserved_primary, "E-21/primary", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each primary processor-based control that has a value the CPU does not allow")
{
    sweep_reserved(PRIMARY_PROCESSOR_BASED_CONTROLS);
}

CHECK(reserved_secondary, "E-21/secondary", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each secondary processor-based control that has a value the CPU does not allow")
{
    sweep_reserved(SECONDARY_PROCESSOR_BASED_CONTROLS);
}

CHECK(reserved_exit, "E-21/exit", NEEDS_L2, SDM_EXIT_CONTROLS,
      "VM entry fails with error 7 for each VM-exit control that has a value the CPU does not allow")
{
    sweep_reserved(VM_EXIT_CONTROLS);
}

CHECK(reserved_entry, "E-21/entry", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for each VM-entry control that has a value the CPU does not allow")
{
    sweep_reserved(VM_ENTRY_CONTROLS);
}

CHECK(secondary_inactive, "E-21/control-secondary-inactive", NEEDS_L2, SDM_EXECUTION,
      "Control: VM entry succeeds with all secondary controls 1 when these controls are not activated")
{
    entry_prepare();
    without_ept();
    vmcs_clear_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, ACTIVATE_SECONDARY_CONTROLS, "secondary controls are fixed");
    vmcs_write(SECONDARY_PROCESSOR_BASED_CONTROLS, ~0u);
    must_enter();
}

CHECK(cr3_targets, "E-21/cr3-target-count", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each CR3-target count that the CPU does not have")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 count = vmx_cr3_targets() + 1; count && count < 0x400; count++)
        SWEEP_VALUES(&tally, CR3_TARGET_COUNT, ENTRY_CONTROLS_INVALID, count);
    SWEEP_VALUES(&tally, CR3_TARGET_COUNT, ENTRY_CONTROLS_INVALID, 1u << 16, 1u << 31);
    must_tally(&tally);
}

CHECK(virtual_nmis, "E-22/control-virtual-nmis", NEEDS_L2, SDM_EXECUTION,
      "Control: VM entry succeeds with NMI exiting and virtual NMIs")
{
    entry_prepare();
    vmcs_set_controls(PIN_BASED_CONTROLS, NMI_EXITING | VIRTUAL_NMIS, "no virtual NMIs");
    must_enter();
}

CHECK(virtual_nmis_alone, "E-22/virtual-nmis", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for virtual NMIs without NMI exiting")
{
    entry_prepare();
    vmcs_set_controls(PIN_BASED_CONTROLS, VIRTUAL_NMIS, "no virtual NMIs");
    vmcs_clear_controls(PIN_BASED_CONTROLS, NMI_EXITING, "NMI exiting is fixed");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(nmi_window, "E-22/nmi-window", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for NMI-window exiting without virtual NMIs, and with them it exits at once")
{
    entry_prepare();
    vmcs_set_controls(PIN_BASED_CONTROLS, NMI_EXITING, "no NMI exiting");
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, NMI_WINDOW_EXITING, "no NMI-window exiting");
    u64 without = entry_try();
    vmcs_set_controls(PIN_BASED_CONTROLS, VIRTUAL_NMIS, "no virtual NMIs");
    must("with_virtual_nmis", entry_try(), ENTRY_OTHER_EXIT | EXIT_NMI_WINDOW);
    must("without_virtual_nmis", without, ENTRY_CONTROLS_INVALID);
}

CHECK(unrestricted, "E-16/unrestricted-guest", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for unrestricted guest without EPT")
{
    entry_prepare();
    without_ept();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "no unrestricted guest");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(no_ept, "E-16/control", NEEDS_L2, SDM_EXECUTION,
      "Control: VM entry succeeds without EPT and without unrestricted guest")
{
    entry_prepare();
    without_ept();
    must_enter();
}

CHECK(pml, "E-22/pml", NEEDS_L2, SDM_EXECUTION, "VM entry fails with error 7 for page-modification logging without EPT")
{
    entry_prepare();
    without_ept();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_PML, "no page-modification logging");
    vmcs_write64(PML_ADDRESS, 0);
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(mode_based, "E-22/mode-based-execute", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for mode-based execute control for EPT without EPT")
{
    entry_prepare();
    without_ept();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, MODE_BASED_EXECUTE_CONTROL, "no mode-based execute control");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(vpid, "E-22/vpid", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for VPID 0 when VPIDs are enabled, and enters with each single bit of the VPID")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_VPID, "no VPIDs");
    SWEEP_VALUES(&tally, VPID, ENTRY_CONTROLS_INVALID, 0);
    vmcs_write(VPID, 0);
    sweep_bits(&tally, VPID, BITS(0, 15), ENTRY_RAN);
    must_tally(&tally);
}

CHECK(timer, "E-22/save-preemption-timer", NEEDS_L2, SDM_EXIT_CONTROLS,
      "VM entry fails with error 7 when VM exit saves a preemption timer that is not activated")
{
    entry_prepare();
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_PREEMPTION_TIMER, "no save of the preemption timer");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(timer_control, "E-22/control-save-preemption-timer", NEEDS_L2, SDM_EXIT_CONTROLS,
      "Control: VM entry succeeds when VM exit saves a preemption timer that is activated")
{
    entry_prepare();
    vmcs_set_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "no preemption timer");
    vmcs_set_controls(VM_EXIT_CONTROLS, SAVE_PREEMPTION_TIMER, "no save of the preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, ~0u);
    must_enter();
}

CHECK(smm, "E-22/smm", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry outside SMM fails with error 7 for each of the two controls that belong to SMM")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_bits(&tally, VM_ENTRY_CONTROLS, ENTRY_TO_SMM | DEACTIVATE_DUAL_MONITOR, ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}
