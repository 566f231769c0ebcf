/* Controls that virtualize the local APIC, and what each of them needs beside it. */
#include "stage.h"

static u8 virtual_apic[PAGE_SIZE] PAGE_ALIGNED;
enum { TASK_PRIORITY = 0x80 }; /* offset in the virtual-APIC page */

static void with_tpr_shadow(void)
{
    entry_prepare();
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, USE_TPR_SHADOW, "no TPR shadow");
    vmcs_write64(VIRTUAL_APIC_ADDRESS, address_of(virtual_apic));
    vmcs_write(TPR_THRESHOLD, 0);
}

static void set_secondary(u32 bits, const char *absent)
{
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, bits, absent);
}

CHECK(shadow, "E-22/control-tpr-shadow", NEEDS_L2, SDM_EXECUTION, "Control: VM entry succeeds with a TPR shadow")
{
    with_tpr_shadow();
    must_enter();
}

CHECK(threshold_bits, "E-22/tpr-threshold-bits", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each of bits 31:4 of the TPR threshold")
{
    struct tally tally = { 0 };
    with_tpr_shadow();
    sweep_bits(&tally, TPR_THRESHOLD, BITS(4, 31), ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

CHECK(threshold, "E-22/tpr-threshold", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for each TPR threshold above the virtual TPR, and enters with each that is not")
{
    struct tally tally = { 0 };
    with_tpr_shadow();
    for (u32 priority = 0; priority < 16; priority += 5) {
        virtual_apic[TASK_PRIORITY] = (u8)(priority << 4);
        for (u64 threshold = 0; threshold < 16; threshold++)
            SWEEP_VALUES(&tally, TPR_THRESHOLD, threshold > priority ? ENTRY_CONTROLS_INVALID : ENTRY_RAN, threshold);
    }
    virtual_apic[TASK_PRIORITY] = 0;
    must_tally(&tally);
}

CHECK(x2apic, "E-22/x2apic-without-tpr-shadow", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for virtualized x2APIC mode without a TPR shadow")
{
    entry_prepare();
    set_secondary(VIRTUALIZE_X2APIC_MODE, "no virtualized x2APIC mode");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(registers, "E-22/apic-registers-without-tpr-shadow", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for APIC-register virtualization without a TPR shadow")
{
    entry_prepare();
    set_secondary(APIC_REGISTER_VIRTUALIZATION, "no APIC-register virtualization");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(delivery, "E-22/interrupt-delivery-without-tpr-shadow", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for virtual-interrupt delivery without a TPR shadow")
{
    entry_prepare();
    vmcs_set_controls(PIN_BASED_CONTROLS, EXTERNAL_INTERRUPT_EXITING, "no external-interrupt exiting");
    set_secondary(VIRTUAL_INTERRUPT_DELIVERY, "no virtual-interrupt delivery");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(delivery_exiting, "E-22/interrupt-delivery-without-exiting", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for virtual-interrupt delivery without external-interrupt exiting")
{
    with_tpr_shadow();
    vmcs_clear_controls(PIN_BASED_CONTROLS, EXTERNAL_INTERRUPT_EXITING, "external-interrupt exiting is fixed");
    set_secondary(VIRTUAL_INTERRUPT_DELIVERY, "no virtual-interrupt delivery");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(both_modes, "E-22/x2apic-and-apic-accesses", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 when both APIC accesses and x2APIC mode are virtualized")
{
    with_tpr_shadow();
    vmcs_write64(APIC_ACCESS_ADDRESS, address_of(virtual_apic));
    set_secondary(VIRTUALIZE_X2APIC_MODE, "no virtualized x2APIC mode");
    u64 x2apic_alone = entry_try();
    set_secondary(VIRTUALIZE_APIC_ACCESSES, "no virtualized APIC accesses");
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
    must("x2apic_mode_alone", x2apic_alone, ENTRY_RAN);
}

/* Posted interrupts, with all that they need. */
static u8 descriptor[64] __attribute__((aligned(64)));

static void with_posted_interrupts(void)
{
    with_tpr_shadow();
    vmcs_set_controls(PIN_BASED_CONTROLS, EXTERNAL_INTERRUPT_EXITING | PROCESS_POSTED_INTERRUPTS,
                      "no posted interrupts");
    set_secondary(VIRTUAL_INTERRUPT_DELIVERY, "no virtual-interrupt delivery");
    vmcs_set_controls(VM_EXIT_CONTROLS, ACKNOWLEDGE_INTERRUPT, "no acknowledgement of interrupts on exit");
    vmcs_write(POSTED_INTERRUPT_VECTOR, 0xF2);
    vmcs_write64(POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, address_of(descriptor));
    vmcs_write(GUEST_INTERRUPT_STATUS, 0);
    for (u32 bitmap = 0; bitmap < 4; bitmap++)
        vmcs_write64(EOI_EXIT_BITMAP0 + bitmap * FIELD_STEP, 0);
}

CHECK(posted, "E-22/posted-interrupts", NEEDS_L2, SDM_EXECUTION,
      "VM entry fails with error 7 for posted interrupts that lack what they need, or have a bad vector or address")
{
    struct tally tally = { 0 };
    with_posted_interrupts();
    sweep_bits(&tally, SECONDARY_PROCESSOR_BASED_CONTROLS, VIRTUAL_INTERRUPT_DELIVERY, ENTRY_CONTROLS_INVALID);
    sweep_bits(&tally, VM_EXIT_CONTROLS, ACKNOWLEDGE_INTERRUPT, ENTRY_CONTROLS_INVALID);
    sweep_bits(&tally, POSTED_INTERRUPT_VECTOR, BITS(8, 15), ENTRY_CONTROLS_INVALID);
    sweep_bits(&tally, POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, BITS(0, 5) | beyond_physical_addresses(),
               ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}
