/* Which failure of VM entry comes first, what the launch state does, and what a failed entry leaves behind. */
#include "l2_code.h"
#include "stage.h"

#define SDM_BASIC "Basic VM-Entry Checks (Vol. 3, 27.1)"
#define SDM_INSTRUCTIONS "VMLAUNCH/VMRESUME (Vol. 3, 31.3)"
#define SDM_FAILURES "VM-Entry Failures During or After Loading Guest State (Vol. 3, 27.8)"
enum { VMLAUNCH_NOT_CLEAR = 4, VMRESUME_NOT_LAUNCHED = 5, BLOCKED_BY_MOV_SS = 26 };
enum { BAD_RFLAGS = 0, GOOD_RFLAGS = 2, BAD_COUNT = 0x1FF, IA32_STAR = 0xC0000081 };

static u32 other_vmcs[PAGE_SIZE / 4] PAGE_ALIGNED;
static u32 area[8] __attribute__((aligned(16)));

static void bad_controls(void)
{
    vmcs_write(CR3_TARGET_COUNT, BAD_COUNT);
}

static void bad_host(void)
{
    vmcs_write(HOST_TR_SELECTOR, 0);
}

static void bad_guest(void)
{
    vmcs_write(GUEST_RFLAGS, BAD_RFLAGS);
}

/* An MSR-load area whose only entry has a reserved bit. */
static void bad_msr(void)
{
    area[1] = 1;
    vmcs_write64(VM_ENTRY_MSR_LOAD_ADDRESS, address_of(area));
    vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, 1);
}

static u32 enter(enum vm_entry_instruction instruction)
{
    return vmx_enter(instruction, &l2_registers);
}

CHECK(controls_first, "E-32/controls-before-guest", NEEDS_L2, SDM_BASIC,
      "VM entry with bad control fields and bad guest state fails with error 7, before guest state is loaded")
{
    entry_prepare();
    bad_controls();
    bad_guest();
    bad_msr();
    must_refuse_entry(ENTRY_CONTROLS_INVALID);
}

CHECK(host_first, "E-32/host-before-guest", NEEDS_L2, SDM_BASIC,
      "VM entry with bad host state and bad guest state fails with error 8, before guest state is loaded")
{
    entry_prepare();
    bad_host();
    bad_guest();
    bad_msr();
    must_refuse_entry(ENTRY_HOST_STATE_INVALID);
}

CHECK(guest_first, "E-32/guest-before-msrs", NEEDS_L2, SDM_BASIC,
      "VM entry with bad guest state and a bad MSR to load fails for the guest state, exit reason 33")
{
    entry_prepare();
    bad_guest();
    bad_msr();
    must_fail_entry(GUEST_STATE_INVALID, 0);
}

CHECK(launched, "E-32/vmlaunch", NEEDS_L2, SDM_INSTRUCTIONS,
      "VMLAUNCH of a launched VMCS fails with error 4, also with bad control fields")
{
    entry_prepare();
    must("vmlaunch_when_clear", entry_try(), ENTRY_RAN);
    must_vmfail(enter(VMLAUNCH), VMLAUNCH_NOT_CLEAR);
    bad_controls();
    must_vmfail(enter(VMLAUNCH), VMLAUNCH_NOT_CLEAR);
}

CHECK(not_launched, "E-32/vmresume", NEEDS_L2, SDM_INSTRUCTIONS,
      "VMRESUME of a VMCS that is clear fails with error 5, also with bad control fields")
{
    entry_prepare();
    must_vmfail(enter(VMRESUME), VMRESUME_NOT_LAUNCHED);
    bad_controls();
    must_vmfail(enter(VMRESUME), VMRESUME_NOT_LAUNCHED);
}

CHECK(stays_clear, "E-32/launch-state", NEEDS_L2, SDM_INSTRUCTIONS,
      "VMLAUNCH that is refused or fails leaves the VMCS clear, and VMRESUME that fails leaves it launched")
{
    entry_prepare();
    bad_controls();
    must("vmlaunch_refused", enter(VMLAUNCH), ENTRY_CONTROLS_INVALID);
    must("vmresume_after_refusal", enter(VMRESUME), VMRESUME_NOT_LAUNCHED);
    vmcs_write(CR3_TARGET_COUNT, 0);
    bad_guest();
    must("vmlaunch_fails", entry_try(), GUEST_REFUSED);
    must("vmresume_after_failure", enter(VMRESUME), VMRESUME_NOT_LAUNCHED);
    vmcs_write(GUEST_RFLAGS, GOOD_RFLAGS);
    must("vmlaunch", entry_try(), ENTRY_RAN);
    bad_guest();
    must("vmresume_fails", entry_try(), GUEST_REFUSED);
    vmcs_write(GUEST_RFLAGS, GOOD_RFLAGS);
    must("vmresume", entry_try(), ENTRY_RAN);
}

CHECK(no_vmcs, "E-32/no-vmcs", NEEDS_L2, SDM_BASIC, "VMLAUNCH and VMRESUME without a current VMCS cause VMfailInvalid")
{
    entry_prepare();
    vmx_clear_vmcs();
    must("vmlaunch", enter(VMLAUNCH), VM_FAIL_INVALID);
    must("vmresume", enter(VMRESUME), VM_FAIL_INVALID);
}

CHECK(shadow, "E-32/shadow-vmcs", NEEDS_L2, SDM_BASIC, "VMLAUNCH with a shadow VMCS current causes VMfailInvalid")
{
    entry_prepare();
    if (!(vmcs_allowed_controls(SECONDARY_PROCESSOR_BASED_CONTROLS) >> 32 & VMCS_SHADOWING))
        skip("no VMCS shadowing");
    other_vmcs[0] = vmx_revision();
    must("vmclear", vmx_vmclear(address_of(other_vmcs)), VM_SUCCEED);
    other_vmcs[0] |= 1u << 31;
    must("vmptrld", vmx_vmptrld(address_of(other_vmcs)), VM_SUCCEED);
    must("vmlaunch", enter(VMLAUNCH), VM_FAIL_INVALID);
    must("vmclear_again", vmx_vmclear(address_of(other_vmcs)), VM_SUCCEED);
}

CHECK(mov_ss, "E-32/mov-ss", NEEDS_L2, SDM_BASIC,
      "VMLAUNCH right after MOV to SS fails with error 26, and before that with error 5 for VMRESUME of a clear VMCS")
{
    u64 error = 0;
    u32 flags;
    entry_prepare();
    asm volatile("mov %%ss, %%eax; mov %%eax, %%ss; vmlaunch; pushfl; popl %0" : "=r"(flags) : : "eax", "cc", "memory");
    must("zero_flag", flags >> 6 & 1, 1);
    must("read", vmx_vmread(VM_INSTRUCTION_ERROR, &error), VM_SUCCEED);
    must("vm_instruction_error", error, BLOCKED_BY_MOV_SS);
    must("vmlaunch", entry_try(), ENTRY_RAN);
}

CHECK(leaves, "E-34/failed-entry", NEEDS_L2, SDM_FAILURES,
      "VM entry that fails for guest state leaves the event to inject, the guest state and L1's own state as they were")
{
    u32 event = 1u << 31 | 3 << 8 | VECTOR_UD, cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    entry_prepare();
    must("exit_reason", entry_try(), ENTRY_RAN);
    u32 length = vmcs_read(EXIT_INSTRUCTION_LENGTH), rip = vmcs_read(GUEST_RIP);
    bad_guest();
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, event);
    vmcs_write(GUEST_ACTIVITY_STATE, 0);
    must("failed", entry_try(), GUEST_REFUSED);
    must("vm_entry_interruption_information", vmcs_read(VM_ENTRY_INTERRUPTION_INFORMATION), event);
    must("guest_rip", vmcs_read(GUEST_RIP), rip);
    must("guest_rflags", vmcs_read(GUEST_RFLAGS), BAD_RFLAGS);
    must("instruction_length", vmcs_read(EXIT_INSTRUCTION_LENGTH), length);
    must("cr0", read_cr0(), cr0);
    must("cr3", read_cr3(), cr3);
    must("cr4", read_cr4() & ~CR4_VMXE, cr4 & ~CR4_VMXE);
}

CHECK(no_store, "E-34/msr-areas", NEEDS_L2, SDM_FAILURES,
      "VM entry that fails for guest state loads the MSRs of the VM-exit area and stores none")
{
    static u32 stored[4] __attribute__((aligned(16))), loaded[4] __attribute__((aligned(16)));
    u64 star = read_msr(IA32_STAR);
    entry_prepare();
    stored[0] = loaded[0] = IA32_STAR;
    stored[2] = 0xAAAA;
    loaded[2] = 0xBBBB;
    vmcs_write64(VM_EXIT_MSR_STORE_ADDRESS, address_of(stored));
    vmcs_write(VM_EXIT_MSR_STORE_COUNT, 1);
    vmcs_write64(VM_EXIT_MSR_LOAD_ADDRESS, address_of(loaded));
    vmcs_write(VM_EXIT_MSR_LOAD_COUNT, 1);
    bad_guest();
    u64 outcome = entry_try(), star_after = read_msr(IA32_STAR);
    write_msr(IA32_STAR, star);
    must("outcome", outcome, GUEST_REFUSED);
    must("stored", stored[2], 0xAAAA);
    must("loaded", star_after, 0xBBBB);
}
