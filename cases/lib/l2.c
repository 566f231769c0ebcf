#include "l2.h"

#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "trap.h"
#include "vmx.h"

enum { VECTORS = 32, ENTRY_BYTES = 16, INTERRUPT_GATE = 0x8E00, STACK_BYTES = 4096 };
enum { FLAT_CODE = 0xC09B, FLAT_DATA = 0xC093, BUSY_TSS = 0x8B, UNUSABLE = 1 << 16 };
enum { RFLAGS_FIXED = 2, DR7_FIXED = 0x400 };
#define EXCEPTION_MARKER 0xE0000000u

struct gate {
    u16 offset_low, selector, attributes, offset_high;
};

struct answer {
    u32 eax, edx, ebx;
};

extern const char l2_entries[];
u32 vm_enter(struct answer *answer);

static struct gate idt[VECTORS];
static u8 stack[STACK_BYTES] PAGE_ALIGNED;

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
    vmcs_write(GUEST_TR_BASE, tss_address());
    vmcs_write(GUEST_TR_LIMIT, 103);
    vmcs_write(GUEST_TR_ACCESS_RIGHTS, BUSY_TSS);
}

void l2_prepare(const void *entry)
{
    struct descriptor_pointer gdtr = read_gdtr();
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        u32 handler = address_of(l2_entries) + vector * ENTRY_BYTES;
        idt[vector] = (struct gate){ (u16)handler, SELECTOR_CODE, INTERRUPT_GATE, (u16)(handler >> 16) };
    }
    ept_identity();
    vmcs_fresh();
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

struct vm_exit l2_run(void)
{
    struct answer answer = { 0 };
    struct vm_exit exit = { 0 };
    exit.failed_entry = vm_enter(&answer);
    if (exit.failed_entry) {
        exit.instruction_error = vmcs_read(VM_INSTRUCTION_ERROR);
        return exit;
    }
    exit.reason = vmcs_read(EXIT_REASON);
    exit.qualification = vmcs_read(EXIT_QUALIFICATION);
    exit.instruction_length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
    exit.guest_physical_address = vmcs_read64(GUEST_PHYSICAL_ADDRESS);
    exit.guest_linear_address = vmcs_read(GUEST_LINEAR_ADDRESS);
    exit.interruption_information = vmcs_read(EXIT_INTERRUPTION_INFORMATION);
    exit.interruption_error_code = vmcs_read(EXIT_INTERRUPTION_ERROR_CODE);
    exit.cr0 = vmcs_read(GUEST_CR0);
    exit.cr3 = vmcs_read(GUEST_CR3);
    exit.cr4 = vmcs_read(GUEST_CR4);
    exit.rip = vmcs_read(GUEST_RIP);
    exit.rflags = vmcs_read(GUEST_RFLAGS);
    for (u32 index = 0; index < ARRAY_SIZE(exit.pdpte); index++)
        exit.pdpte[index] = vmcs_read64(GUEST_PDPTE0 + index * FIELD_STEP);
    exit.eax = answer.eax;
    exit.exception = exit.reason == EXIT_VMCALL && (answer.eax & ~31u) == EXCEPTION_MARKER;
    if (exit.exception) {
        exit.vector = answer.eax & 31;
        exit.error_code = answer.edx;
        exit.exception_rip = answer.ebx;
    }
    return exit;
}

void l2_saw_exit(const struct vm_exit *exit, const void *instruction)
{
    if (exit->failed_entry) {
        saw("vm_instruction_error", exit->instruction_error);
        wrong("VM entry failed");
        return;
    }
    saw("cr3", exit->cr3);
    saw("cr4", exit->cr4);
    if (exit->exception) {
        saw("vector", exit->vector);
        saw("error_code", exit->error_code);
        saw("exception_rip_offset", exit->exception_rip - address_of(instruction));
    }
    if (exit->reason == EXIT_EXCEPTION_OR_NMI) {
        saw("exit_interruption_information", exit->interruption_information);
        saw("exit_interruption_error_code", exit->interruption_error_code);
    }
}
