#include "l2.h"

#include "cpu.h"
#include "ept.h"
#include "events.h"
#include "l1_mode.h"
#include "outcome.h"
#include "trap.h"
#include "vmx.h"

enum { STACK_BYTES = 4096, GATES = 256 };
enum { TSS_ESP0 = 1, TSS_SS0 = 2, TSS_WORDS = 26 };
enum { FLAT_CODE = 0xC09B, FLAT_DATA = 0xC093, BUSY_TSS = 0x8B, UNUSABLE = 1 << 16 };
enum { RFLAGS_FIXED = 2, DR7_FIXED = 0x400, USER = 3 };
#define INFORMATION_VALID (1u << 31)
enum { INFORMATION_TYPE = 7 << 8, HARDWARE_EXCEPTION = 3 << 8, ERROR_CODE_VALID = 1 << 11 };

extern const char l2_entries[], l2_entries_end[];

struct general_registers l2_registers;

static struct gate idt[GATES];
static u8 stack[STACK_BYTES] PAGE_ALIGNED, handler_stack[STACK_BYTES] PAGE_ALIGNED;
static u32 tss[TSS_WORDS];

static void write_segments(void)
{
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP) {
        bool code = step == SEGMENT_CS * FIELD_STEP;
        vmcs_write(GUEST_ES_SELECTOR + step, code ? SELECTOR_CODE : SELECTOR_DATA);
        vmcs_write(GUEST_ES_BASE + step, 0);
        vmcs_write(GUEST_ES_LIMIT + step, 0xFFFFFFFF);
        vmcs_write(GUEST_ES_ACCESS_RIGHTS + step, code ? FLAT_CODE : FLAT_DATA);
    }
    vmcs_write(GUEST_LDTR_SELECTOR, 0);
    vmcs_write(GUEST_LDTR_BASE, 0);
    vmcs_write(GUEST_LDTR_LIMIT, 0);
    vmcs_write(GUEST_LDTR_ACCESS_RIGHTS, UNUSABLE);
    vmcs_write(GUEST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(GUEST_TR_BASE, address_of(tss));
    vmcs_write(GUEST_TR_LIMIT, sizeof tss - 1);
    vmcs_write(GUEST_TR_ACCESS_RIGHTS, BUSY_TSS);
}

void l2_prepare(const void *entry)
{
    struct descriptor_pointer gdtr = read_gdtr();
    idt_fill(idt, GATES, l2_entries);
    /* For an exception in less privileged L2 code. */
    tss[TSS_ESP0] = address_of(handler_stack + STACK_BYTES);
    tss[TSS_SS0] = SELECTOR_DATA;
    l2_registers = (struct general_registers){ 0 };
    l1_home();
    events_end();
    ept_identity();
    vmcs_fresh();
    vmcs_write64(EPT_POINTER, ept_pointer());
    ept_flush();
    write_segments();
    vmcs_write(CR0_GUEST_HOST_MASK, 0);
    vmcs_write(CR4_GUEST_HOST_MASK, 0);
    vmcs_write(CR0_READ_SHADOW, 0);
    vmcs_write(CR4_READ_SHADOW, 0);
    /* CR0.NE and CR4.VMXE are fixed to 1 in VMX operation; PE and PG are free with unrestricted guest. */
    vmcs_write(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE);
    vmcs_write(GUEST_CR3, 0);
    vmcs_write(GUEST_CR4, CR4_VMXE);
    vmcs_write(GUEST_GDTR_BASE, gdtr.base);
    vmcs_write(GUEST_GDTR_LIMIT, gdtr.limit);
    vmcs_write(GUEST_IDTR_BASE, address_of(idt));
    vmcs_write(GUEST_IDTR_LIMIT, sizeof idt - 1);
    vmcs_write(GUEST_DR7, DR7_FIXED);
    vmcs_write(GUEST_RSP, address_of(stack + STACK_BYTES));
    vmcs_write(GUEST_RIP, address_of(entry));
    vmcs_write(GUEST_RFLAGS, RFLAGS_FIXED);
    vmcs_write(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, 0);
    vmcs_write(GUEST_IA32_SYSENTER_CS, 0);
    vmcs_write(GUEST_IA32_SYSENTER_ESP, 0);
    vmcs_write(GUEST_IA32_SYSENTER_EIP, 0);
    vmcs_write64(GUEST_IA32_DEBUGCTL, 0);
    vmcs_write64(VMCS_LINK_POINTER, ~(u64)0);
}

void l2_user_mode(void)
{
    for (u32 step = 0; step < SEGMENTS * FIELD_STEP; step += FIELD_STEP) {
        vmcs_write(GUEST_ES_SELECTOR + step, vmcs_read(GUEST_ES_SELECTOR + step) | USER);
        vmcs_write(GUEST_ES_ACCESS_RIGHTS + step, vmcs_read(GUEST_ES_ACCESS_RIGHTS + step) | USER << 5);
    }
}

void l2_real_mode(void)
{
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) & ~CR0_PE);
    vmcs_write(EXCEPTION_BITMAP, 0xFFFFFFFF);
}

/* An exception that is itself the exit: the VM-exit interruption information describes it. */
static void read_intercepted(struct vm_exit *exit)
{
    u32 information = exit->interruption_information;
    exit->exception = (information & INFORMATION_TYPE) == HARDWARE_EXCEPTION;
    exit->vector = information & 0xFF;
    exit->error_code = information & ERROR_CODE_VALID ? exit->interruption_error_code : 0;
    exit->exception_rip = exit->rip;
    exit->exception_cr2 = exit->qualification;
}

static void read_exception(struct vm_exit *exit)
{
    u32 first = address_of(l2_entries);
    if (exit->reason == EXIT_EXCEPTION_OR_NMI) {
        read_intercepted(exit);
        return;
    }
    exit->exception = exit->reason == EXIT_VMCALL && exit->rip >= first && exit->rip < address_of(l2_entries_end);
    if (!exit->exception)
        return;
    exit->vector = (exit->rip - first) / EXCEPTION_ENTRY_BYTES;
    exit->error_code = exit->registers.edx;
    exit->exception_rip = exit->registers.ebx;
    exit->exception_cr2 = exit->registers.ecx;
}

/* Each VMREAD is a VM exit under a hypervisor: what the SDM leaves undefined for this exit is not read. */
static void read_exit_addresses(struct vm_exit *exit)
{
    exit->guest_linear_address = vmcs_read64(GUEST_LINEAR_ADDRESS);
    if (exit->reason == EXIT_EPT_VIOLATION || exit->reason == EXIT_EPT_MISCONFIGURATION)
        exit->guest_physical_address = vmcs_read64(GUEST_PHYSICAL_ADDRESS);
}

static void read_exit_information(struct vm_exit *exit)
{
    exit->qualification = vmcs_read64(EXIT_QUALIFICATION);
    if (exit->reason & ENTRY_FAILURE)
        return; /* it updates no other field */
    exit->instruction_length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
    exit->instruction_information = vmcs_read(EXIT_INSTRUCTION_INFORMATION);
    read_exit_addresses(exit);
    exit->interruption_information = vmcs_read(EXIT_INTERRUPTION_INFORMATION);
    if (exit->interruption_information & INFORMATION_VALID)
        exit->interruption_error_code = vmcs_read(EXIT_INTERRUPTION_ERROR_CODE);
    exit->idt_vectoring_information = vmcs_read(IDT_VECTORING_INFORMATION);
    if (exit->idt_vectoring_information & INFORMATION_VALID)
        exit->idt_vectoring_error_code = vmcs_read(IDT_VECTORING_ERROR_CODE);
}

static void read_guest_state(struct vm_exit *exit)
{
    exit->cr0 = vmcs_read64(GUEST_CR0);
    exit->cr3 = vmcs_read64(GUEST_CR3);
    exit->cr4 = vmcs_read64(GUEST_CR4);
    exit->rsp = vmcs_read64(GUEST_RSP);
    exit->rip = vmcs_read64(GUEST_RIP);
    exit->rflags = vmcs_read64(GUEST_RFLAGS);
    exit->pending_debug_exceptions = vmcs_read64(GUEST_PENDING_DEBUG_EXCEPTIONS);
    exit->interruptibility_state = vmcs_read(GUEST_INTERRUPTIBILITY_STATE);
    exit->activity_state = vmcs_read(GUEST_ACTIVITY_STATE);
    if (exit->cr0 & CR0_PG && exit->cr4 & CR4_PAE)
        for (u32 index = 0; index < ARRAY_SIZE(exit->pdpte); index++)
            exit->pdpte[index] = vmcs_read64(GUEST_PDPTE0 + index * FIELD_STEP);
}

/* False when VM entry failed. */
static bool enter(struct vm_exit *exit)
{
    *exit = (struct vm_exit){ 0 };
    if (vmcs_refused_field())
        misused("VMWRITE to a field that this CPU does not have");
    exit->instruction_error = vmx_run(&l2_registers, &exit->reason);
    exit->failed_entry = exit->instruction_error != VM_SUCCEED;
    exit->registers = l2_registers;
    return !exit->failed_entry;
}

struct vm_exit l2_run(void)
{
    struct vm_exit exit;
    if (!enter(&exit))
        return exit;
    read_exit_information(&exit);
    read_guest_state(&exit);
    read_exception(&exit);
    return exit;
}

struct vm_exit l2_run_briefly(void)
{
    struct vm_exit exit;
    if (!enter(&exit))
        return exit;
    exit.qualification = vmcs_read64(EXIT_QUALIFICATION);
    exit.interruption_information = vmcs_read(EXIT_INTERRUPTION_INFORMATION);
    exit.interruption_error_code = vmcs_read(EXIT_INTERRUPTION_ERROR_CODE);
    exit.rip = vmcs_read64(GUEST_RIP);
    read_exit_addresses(&exit);
    read_exception(&exit);
    return exit;
}

void l2_skip_instruction(const struct vm_exit *exit)
{
    vmcs_write64(GUEST_RIP, exit->rip + exit->instruction_length);
}
