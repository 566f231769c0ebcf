/* Guest descriptor tables, RIP, RFLAGS and the state that is in no register: VM entry fails with exit reason 33. */
#include "l1_mode.h"
#include "l2_code.h"
#include "stage.h"

enum { RFLAGS_FIXED = 1 << 1, RFLAGS_TF = 1 << 8, RFLAGS_IF = 1 << 9, RFLAGS_VM = 1 << 17 };
#define RFLAGS_RESERVED (BITS(3, 3) | BITS(5, 5) | BITS(15, 15) | BITS(22, 63))
enum { ACTIVE, HALTED, SHUT_DOWN, WAITING_FOR_SIPI };
enum { BY_STI = 1, BY_MOV_SS = 2, BY_SMI = 4, BY_NMI = 8, SS_DPL = 3 << 5, SINGLE_STEP = 1 << 14, CS_L = 1 << 13,
       CS_D = 1 << 14 };

#define INJECT(type, vector) (1u << 31 | (type) << 8 | (vector))
enum { INTERRUPT, NMI = 2, EXCEPTION, SOFTWARE_INTERRUPT, PRIVILEGED_SOFTWARE, SOFTWARE };

CHECK(limits, "E-29/limits", NEEDS_L2, SDM_GUEST_TABLES,
      "VM entry fails for each of bits 31:16 of the limits of GDTR and IDTR")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_bits(&tally, GUEST_GDTR_LIMIT, BITS(16, 31), GUEST_REFUSED);
    sweep_bits(&tally, GUEST_IDTR_LIMIT, BITS(16, 31), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(bases, "E-29/bases", NEEDS_L2, SDM_GUEST_TABLES,
      "VM entry fails when the base of GDTR or IDTR is not canonical")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_GDTR_BASE, beyond_linear_addresses(), GUEST_REFUSED);
    sweep_bits(&tally, GUEST_IDTR_BASE, beyond_linear_addresses(), GUEST_REFUSED);
    SWEEP_VALUES(&tally, GUEST_GDTR_BASE, ENTRY_RAN, CANONICAL_HIGH);
    SWEEP_VALUES(&tally, GUEST_IDTR_BASE, ENTRY_RAN, CANONICAL_HIGH);
    must_tally(&tally);
}

CHECK(rip, "E-29/rip", NEEDS_L2, SDM_GUEST_RIP,
      "VM entry of a guest outside 64-bit mode fails for each of bits 63:32 of RIP")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_RIP, BITS(32, 63), GUEST_REFUSED);
    entry_prepare();
    in_ia32e_mode();
    sweep_bits(&tally, GUEST_RIP, BITS(32, 63), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(rip_64, "E-29/rip-64-bit", NEEDS_L2, SDM_GUEST_RIP,
      "VM entry of a guest in 64-bit mode fails when the bits of RIP beyond the linear-address width are not identical")
{
    struct tally tally = { 0 };
    entry_prepare();
    in_ia32e_mode();
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, (vmcs_read(GUEST_CS_ACCESS_RIGHTS) | CS_L) & ~CS_D);
    sweep_bits(&tally, GUEST_RIP, beyond_linear_addresses() & beyond_linear_addresses() << 1, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(rflags, "E-29/rflags", NEEDS_L2, SDM_GUEST_RIP,
      "VM entry fails for each reserved bit of RFLAGS, and for bit 1 being 0")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_RFLAGS, RFLAGS_RESERVED | RFLAGS_FIXED, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(rflags_vm, "E-29/rflags-vm", NEEDS_L2, SDM_GUEST_RIP,
      "VM entry fails with RFLAGS.VM=1 in IA-32e mode")
{
    entry_prepare();
    in_ia32e_mode();
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP) {
        vmcs_write(GUEST_ES_SELECTOR + step, 0);
        vmcs_write(GUEST_ES_LIMIT + step, 0xFFFF);
        vmcs_write(GUEST_ES_ACCESS_RIGHTS + step, 0xF3);
    }
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(rflags_vm_real, "E-29/rflags-vm-real", NEEDS_L2, SDM_GUEST_RIP, "VM entry fails with RFLAGS.VM=1 and CR0.PE=0")
{
    entry_prepare();
    l2_real_mode();
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP) {
        vmcs_write(GUEST_ES_SELECTOR + step, 0);
        vmcs_write(GUEST_ES_LIMIT + step, 0xFFFF);
        vmcs_write(GUEST_ES_ACCESS_RIGHTS + step, 0xF3);
    }
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM);
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(rflags_if, "E-29/rflags-if", NEEDS_L2, SDM_GUEST_RIP,
      "VM entry that injects an external interrupt fails with RFLAGS.IF=0")
{
    entry_prepare();
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INJECT(INTERRUPT, 30));
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

/* Activity states. */

static bool has_state(u64 state)
{
    return state == ACTIVE || (state <= WAITING_FOR_SIPI && read_msr(IA32_VMX_MISC) >> (5 + state) & 1);
}

/* An L2 that leaves any activity state at once, and enters none but by the field. */
static void prepare_inactive(u64 state)
{
    entry_prepare();
    if (!has_state(state))
        skip("no support for the activity state");
    vmcs_set_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "no preemption timer");
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, (u32)state);
}

CHECK(activity, "E-30/activity-state", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails for each activity state that does not exist or that the CPU does not support")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u64 state = 0; state < 32; state++)
        if (!has_state(state))
            SWEEP_VALUES(&tally, GUEST_ACTIVITY_STATE, GUEST_REFUSED, state);
    sweep_bits(&tally, GUEST_ACTIVITY_STATE, BITS(5, 31), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(halted, "E-30/control-hlt", NEEDS_L2, SDM_GUEST_OTHER,
      "Control: VM entry to the HLT state succeeds, and the preemption timer ends it with this state saved")
{
    prepare_inactive(HALTED);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_PREEMPTION_TIMER);
    must("activity_state", exit.activity_state, HALTED);
}

CHECK(halted_dpl, "E-30/hlt-dpl", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry to the HLT state fails with SS.DPL that is not 0")
{
    prepare_inactive(HALTED);
    l2_user_mode();
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(halted_blocking, "E-30/hlt-blocking", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry to the HLT state fails with blocking by STI or by MOV SS")
{
    struct tally tally = { 0 };
    prepare_inactive(HALTED);
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_STI);
    vmcs_write(GUEST_ACTIVITY_STATE, HALTED); /* again, if L2 ran */
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_MOV_SS);
    must_tally(&tally);
}

/* Every event that controls allow, and whether the HLT state takes it. */
static bool wakes(u32 type, u32 vector)
{
    return type == INTERRUPT || type == NMI || (type == EXCEPTION && (vector == 1 || vector == 18));
}

CHECK(halted_events, "E-30/hlt-events", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry to the HLT state fails with each injected event but interrupt, NMI, debug and machine-check exception")
{
    struct tally tally = { 0 };
    prepare_inactive(HALTED);
    vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, 0);
    vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, 1);
    for (u32 type = EXCEPTION; type <= SOFTWARE; type++)
        for (u32 vector = 0; vector < 20; vector++) {
            u32 information = INJECT(type, vector) | (type == EXCEPTION && PUSHES_ERROR_CODE(vector) ? 1u << 11 : 0);
            if (wakes(type, vector) || vector == 15 || vector == 2)
                continue;
            vmcs_write(GUEST_ACTIVITY_STATE, HALTED);
            vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, information);
            tally_turn(&tally, information, entry_try(), GUEST_REFUSED);
        }
    must_tally(&tally);
}

CHECK(halted_woken, "E-30/control-hlt-events", NEEDS_L2, SDM_GUEST_OTHER,
      "Control: VM entry to the HLT state with an interrupt, NMI, debug or machine-check exception reaches its handler")
{
    static const u32 events[] = { INJECT(INTERRUPT, 30), INJECT(NMI, 2), INJECT(EXCEPTION, 1), INJECT(EXCEPTION, 18) };
    struct tally tally = { 0 };
    for (u32 index = 0; index < ARRAY_SIZE(events); index++) {
        prepare_inactive(HALTED);
        vmcs_clear_controls(PIN_BASED_CONTROLS, PREEMPTION_TIMER, "the preemption timer is always on");
        vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | (index ? 0 : RFLAGS_IF));
        vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, events[index]);
        struct vm_exit exit = l2_run();
        tally_turn(&tally, events[index], exit.exception ? exit.vector : ~(u64)0, events[index] & 0xFF);
        tally_turn(&tally, events[index], exit.activity_state, ACTIVE);
    }
    must_tally(&tally);
}

/* Interruptibility. */

CHECK(interruptibility, "E-30/interruptibility-reserved", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails for each of bits 31:5 of the interruptibility state, and outside SMM for blocking by SMI")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_bits(&tally, GUEST_INTERRUPTIBILITY_STATE, BITS(5, 31) | BY_SMI, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(blocking, "E-30/blocking-by-sti", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails with blocking by STI when RFLAGS.IF=0 or with blocking by MOV SS as well")
{
    struct tally tally = { 0 };
    entry_prepare();
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_STI, BY_STI | BY_MOV_SS);
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, ENTRY_RAN, BY_MOV_SS);
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_STI | BY_MOV_SS);
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, ENTRY_RAN, BY_STI, BY_MOV_SS);
    must_tally(&tally);
}

CHECK(blocked_events, "E-30/blocked-events", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails when it injects an interrupt that STI or MOV SS blocks, or an NMI that is blocked")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INJECT(INTERRUPT, 30));
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_STI, BY_MOV_SS);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INJECT(NMI, 2));
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_MOV_SS);
    vmcs_set_controls(PIN_BASED_CONTROLS, NMI_EXITING | VIRTUAL_NMIS, "no virtual NMIs");
    SWEEP_VALUES(&tally, GUEST_INTERRUPTIBILITY_STATE, GUEST_REFUSED, BY_NMI);
    must_tally(&tally);
}

/* Pending debug exceptions. Bit 11 (bus lock) and bit 16 (RTM) are reserved on some CPUs only. */

CHECK(pending, "E-30/pending-debug-reserved", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails for each reserved bit of the pending debug exceptions")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    sweep_bits(&tally, GUEST_PENDING_DEBUG_EXCEPTIONS, BITS(4, 10) | BITS(13, 13) | BITS(15, 15) | BITS(17, 63),
               GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(single_step, "E-30/pending-single-step", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry with blocking by STI or MOV SS fails when BS of the pending debug exceptions differs from RFLAGS.TF")
{
    static const u32 states[] = { BY_STI, BY_MOV_SS };
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(states); index++) {
        vmcs_write(GUEST_INTERRUPTIBILITY_STATE, states[index]);
        vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        SWEEP_VALUES(&tally, GUEST_PENDING_DEBUG_EXCEPTIONS, GUEST_REFUSED, SINGLE_STEP);
        SWEEP_VALUES(&tally, GUEST_PENDING_DEBUG_EXCEPTIONS, ENTRY_RAN, 0);
        vmcs_write(GUEST_INTERRUPTIBILITY_STATE, states[index]);
        vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF);
        SWEEP_VALUES(&tally, GUEST_PENDING_DEBUG_EXCEPTIONS, GUEST_REFUSED, 0);
    }
    must_tally(&tally);
}

/* The VMCS link pointer. */
static u32 other_vmcs[PAGE_SIZE / 4] PAGE_ALIGNED;
#define LINK_REFUSED ENTRY_FAILED(GUEST_STATE_INVALID, BAD_LINK_POINTER)
#define SHADOW_VMCS (1u << 31)

static void prepare_link(void)
{
    entry_prepare();
    other_vmcs[0] = vmx_revision();
    vmcs_write64(VMCS_LINK_POINTER, address_of(other_vmcs));
}

CHECK(link_bits, "E-31/bits", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails with qualification 4 for each bad bit of the address in the VMCS link pointer")
{
    struct tally tally = { 0 };
    prepare_link();
    sweep_bits(&tally, VMCS_LINK_POINTER, BITS(0, 11) | beyond_physical_addresses(), LINK_REFUSED);
    must_tally(&tally);
}

CHECK(link_revision, "E-31/revision", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails with qualification 4 when the linked VMCS has another revision identifier or is a shadow VMCS")
{
    struct tally tally = { 0 };
    prepare_link();
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    for (u32 bit = 0; bit < 32; bit++) {
        other_vmcs[0] = vmx_revision() ^ 1u << bit;
        tally_turn(&tally, 1u << bit, entry_try(), LINK_REFUSED);
    }
    must_tally(&tally);
}

CHECK(link_shadow, "E-31/shadow", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry with VMCS shadowing fails with qualification 4 unless the linked VMCS is a shadow VMCS")
{
    static u8 bitmap[PAGE_SIZE] PAGE_ALIGNED;
    struct tally tally = { 0 };
    prepare_link();
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, VMCS_SHADOWING, "no VMCS shadowing");
    vmcs_write64(VMREAD_BITMAP_ADDRESS, address_of(bitmap));
    vmcs_write64(VMWRITE_BITMAP_ADDRESS, address_of(bitmap));
    tally_turn(&tally, 0, entry_try(), LINK_REFUSED);
    other_vmcs[0] |= SHADOW_VMCS;
    tally_turn(&tally, 1, entry_try(), ENTRY_RAN);
    must_tally(&tally);
}

CHECK(link_current, "E-31/current", NEEDS_L2, SDM_GUEST_OTHER,
      "VM entry fails with qualification 4 when the VMCS link pointer is the current VMCS")
{
    entry_prepare();
    vmcs_write64(VMCS_LINK_POINTER, vmx_regions().vmcs);
    must_fail_entry(GUEST_STATE_INVALID, BAD_LINK_POINTER);
}
