/* Events that VM entry injects, and what a VM exit during the delivery of an event reports. */
#include "l2_modes.h"
#include "stage.h"
#include "tally.h"

#define INJECTION "Event Injection (Vol. 3, 27.6)"
#define VECTORING "Information for VM Exits That Occur During Event Delivery (Vol. 3, 28.2.4)"

enum event_type { EXTERNAL, NMI = 2, HARDWARE_EXCEPTION, SOFTWARE_INTERRUPT, PRIVILEGED_EXCEPTION, SOFTWARE_EXCEPTION };
enum { ERROR_CODE_VALID = 1 << 11, ERROR_CODE = 0x28 };
enum { DB = 1, BP = 3, OF = 4, DF = 8 };

extern const char l2_entries[];
L2_CODE(nop, "nop\nnop\nnop");

static u32 information(enum event_type type, u32 vector)
{
    return INFORMATION_VALID | (type == HARDWARE_EXCEPTION && PUSHES_ERROR_CODE(vector) ? ERROR_CODE_VALID : 0) |
           (u32)type << 8 | vector;
}

static void inject(u32 event, u32 length)
{
    vmcs_write(GUEST_RIP, address_of(nop.start));
    vmcs_write(GUEST_RFLAGS, (event >> 8 & 7) == EXTERNAL ? RFLAGS_IF : RFLAGS_NO_IF);
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, event);
    vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, ERROR_CODE);
    vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, length);
}

/* Which handler of L2 ran, for which error code, and how far after the interrupted instruction it returns. */
static u64 taken(const struct vm_exit *exit)
{
    if (!exit->exception)
        return ~(u64)0;
    return (u64)exit->vector << 32 | (exit->error_code & 0xFFFF) << 16 | (u16)rip_offset(exit, nop.start);
}

static u64 must_be_taken(u32 event, u32 length)
{
    return (u64)(event & 0xFF) << 32 | (event & ERROR_CODE_VALID ? ERROR_CODE << 16 : 0) | length;
}

static void inject_each(enum event_type type, u32 first, u32 last, u32 length)
{
    struct tally tally = { 0 };
    l2_prepare(nop.start);
    for (u32 vector = first; vector <= last; vector++) {
        if (type == HARDWARE_EXCEPTION && (vector == VECTOR_NMI || vector == BP || vector == OF || vector == 21))
            continue; /* 3 and 4 are of other types, and 21 has an error code on some CPUs alone */
        if (type == SOFTWARE_INTERRUPT && PUSHES_ERROR_CODE(vector))
            continue; /* L2's handler of that vector takes an error code off the stack */
        u32 event = information(type, vector);
        inject(event, length);
        struct vm_exit exit = l2_run();
        tally_turn(&tally, event, taken(&exit), must_be_taken(event, length));
        vmcs_write(GUEST_INTERRUPTIBILITY_STATE, 0);
    }
    must_tally(&tally);
}

CHECK(exceptions, "injection/exceptions", NEEDS_L2, INJECTION,
      "VM entry delivers each hardware exception by L2's IDT, with its error code and the RIP of the guest state")
{
    inject_each(HARDWARE_EXCEPTION, 0, 20, 0);
}

CHECK(interrupts, "injection/interrupts", NEEDS_L2, INJECTION,
      "VM entry delivers an external interrupt of each vector from 32 to 255 by L2's IDT")
{
    inject_each(EXTERNAL, 32, 255, 0);
}

CHECK(software_interrupts, "injection/software-interrupts", NEEDS_L2, INJECTION,
      "VM entry delivers a software interrupt of most vectors by L2's IDT, with the instruction's length added to RIP")
{
    inject_each(SOFTWARE_INTERRUPT, 0, 255, 2);
}

CHECK(software_exceptions, "injection/software-exceptions", NEEDS_L2, INJECTION,
      "VM entry delivers #BP and #OF as software exceptions, with the instruction's length added to RIP")
{
    inject_each(SOFTWARE_EXCEPTION, BP, OF, 1);
}

CHECK(privileged, "injection/int1", NEEDS_L2, INJECTION,
      "VM entry delivers #DB as a privileged software exception, with the instruction's length added to RIP")
{
    inject_each(PRIVILEGED_EXCEPTION, DB, DB, 1);
}

CHECK(length, "injection/length", NEEDS_L2, INJECTION,
      "VM entry adds the instruction length of 1 to 15 to the RIP that an injected software interrupt pushes")
{
    struct tally tally = { 0 };
    l2_prepare(nop.start);
    for (u32 length = 1; length <= 15; length++) {
        inject(information(SOFTWARE_INTERRUPT, VECTOR), length);
        struct vm_exit exit = l2_run();
        tally_turn(&tally, length, taken(&exit), (u64)VECTOR << 32 | length);
    }
    must_tally(&tally);
}

CHECK(consumed, "injection/valid-bit", NEEDS_L2, "Clearing of the Valid Bit (Vol. 3, 28.2)",
      "A VM exit clears the valid bit of the VM-entry interruption information, so that VMRESUME injects nothing")
{
    l2_prepare(nop.start);
    inject(information(EXTERNAL, VECTOR), 0);
    struct vm_exit first = l2_run();
    must("first_vector", first.vector, VECTOR);
    must("valid_bit", vmcs_read(VM_ENTRY_INTERRUPTION_INFORMATION) >> 31, 0);
    struct vm_exit exit = l2_try(&nop);
    must_execute(&exit, &nop);
}

CHECK(bitmap, "injection/exception-bitmap", NEEDS_L2, INJECTION,
      "An injected exception causes no VM exit by the exception bitmap: L2's handler gets it")
{
    l2_prepare(nop.start);
    vmcs_write(EXCEPTION_BITMAP, 1u << VECTOR_GP | 1u << VECTOR_UD);
    inject(information(HARDWARE_EXCEPTION, VECTOR_GP), 0);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMCALL);
    must("vector", exit.vector, VECTOR_GP);
    must("error_code", exit.error_code, ERROR_CODE);
    saw_exit(&exit, nop.start);
}

CHECK(cr2, "injection/page-fault-cr2", NEEDS_L2, INJECTION,
      "An injected #PF leaves CR2 alone: L2's handler reads what L1 had in it")
{
    enum { CR2 = 0x12345678 };
    l2_prepare(nop.start);
    inject(information(HARDWARE_EXCEPTION, VECTOR_PF), 0);
    asm volatile("movl %0, %%cr2" : : "r"(CR2));
    struct vm_exit exit = l2_run();
    must("cr2", exit.exception_cr2, CR2);
    must("vector", exit.vector, VECTOR_PF);
    saw_exit(&exit, nop.start);
}

/* The delivery itself exits: L2's stack is absent from EPT. */
static u8 stack[PAGE_SIZE] PAGE_ALIGNED;

static struct vm_exit fail_delivery(u32 length)
{
    vmcs_write(GUEST_RSP, address_of(stack + 256));
    ept_protect(stack, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("guest_physical_page", exit.guest_physical_address & ~(u64)(PAGE_SIZE - 1), address_of(stack));
    must_stop_at(&exit, nop.start);
    noted("guest_physical_address", exit.guest_physical_address); /* what is pushed first the SDM leaves open */
    noted("guest_linear_page", 0);
    noted("guest_linear_address", exit.guest_linear_address);
    if (length)
        must("instruction_length", exit.instruction_length, length);
    return exit;
}

/* Such an exit, and the same event once more, from what the exit says of it. */
static void must_vector(u32 event, u32 length)
{
    l2_prepare(nop.start);
    inject(event, length);
    struct vm_exit exit = fail_delivery(length);
    must("idt_vectoring_information", exit.idt_vectoring_information, event);
    if (event & ERROR_CODE_VALID)
        must("idt_vectoring_error_code", exit.idt_vectoring_error_code, ERROR_CODE);
    ept_protect(stack, EPT_ALL);
    inject(exit.idt_vectoring_information, exit.instruction_length);
    struct vm_exit again = l2_run();
    must("again_taken", taken(&again), must_be_taken(event, length));
    noted("interruptibility_state", exit.interruptibility_state);
}

CHECK(vectoring_exception, "vectoring/injected-exception", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected #GP reports the event as IDT-vectoring information, with error code")
{
    must_vector(information(HARDWARE_EXCEPTION, VECTOR_GP), 0);
}

CHECK(vectoring_no_code, "vectoring/injected-exception-without-code", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected #UD reports the event as IDT-vectoring information, without code")
{
    must_vector(information(HARDWARE_EXCEPTION, VECTOR_UD), 0);
}

CHECK(vectoring_interrupt, "vectoring/injected-interrupt", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected external interrupt reports the event as IDT-vectoring information")
{
    must_vector(information(EXTERNAL, VECTOR), 0);
}

CHECK(vectoring_nmi, "vectoring/injected-nmi", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected NMI reports the event as IDT-vectoring information")
{
    must_vector(information(NMI, VECTOR_NMI), 0);
}

CHECK(vectoring_software, "vectoring/injected-software-interrupt", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected software interrupt reports the event and the instruction's length")
{
    must_vector(information(SOFTWARE_INTERRUPT, VECTOR), 2);
}

CHECK(vectoring_breakpoint, "vectoring/injected-breakpoint", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected #BP reports the event and the instruction's length")
{
    must_vector(information(SOFTWARE_EXCEPTION, BP), 1);
}

CHECK(vectoring_int1, "vectoring/injected-int1", NEEDS_L2, VECTORING,
      "An EPT violation in delivering an injected privileged software exception reports the event and its length")
{
    must_vector(information(PRIVILEGED_EXCEPTION, DB), 1);
}

/* Events of L2's own. */
L2_CODE(ud2, "ud2");
L2_CODE(int_n, "int $0x41");
L2_CODE(int3, "int3");
L2_CODE(into, "into");
L2_CODE(load_ds, "movl %eax, %ds");

static void must_vector_own(const struct l2_code *code, u32 event, u32 error_code, u32 length)
{
    l2_prepare(code->start);
    l2_registers.eax = ERROR_CODE | 0x400; /* a selector beyond the GDT */
    vmcs_write(GUEST_RFLAGS, RFLAGS_NO_IF | 1 << 11);
    vmcs_write(GUEST_RSP, address_of(stack + 256));
    ept_protect(stack, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must_stop_at(&exit, code->start);
    must("idt_vectoring_information", exit.idt_vectoring_information, event);
    if (event & ERROR_CODE_VALID)
        must("idt_vectoring_error_code", exit.idt_vectoring_error_code, error_code);
    if (length)
        must("instruction_length", exit.instruction_length, length);
    saw("interruptibility_state", exit.interruptibility_state);
}

CHECK(own_ud, "vectoring/ud", NEEDS_L2, VECTORING,
      "An EPT violation in delivering L2's #UD reports the exception as IDT-vectoring information")
{
    must_vector_own(&ud2, information(HARDWARE_EXCEPTION, VECTOR_UD), 0, 0);
}

CHECK(own_gp, "vectoring/gp", NEEDS_L2, VECTORING,
      "An EPT violation in delivering L2's #GP reports the exception and its error code as IDT-vectoring information")
{
    must_vector_own(&load_ds, information(HARDWARE_EXCEPTION, VECTOR_GP), ERROR_CODE | 0x400, 0);
}

CHECK(own_int, "vectoring/int-n", NEEDS_L2, VECTORING,
      "An EPT violation in delivering L2's INT n reports a software interrupt and the instruction's length")
{
    must_vector_own(&int_n, information(SOFTWARE_INTERRUPT, VECTOR), 0, 2);
}

CHECK(own_int3, "vectoring/int3", NEEDS_L2, VECTORING,
      "An EPT violation in delivering L2's INT3 reports a software exception and the instruction's length")
{
    must_vector_own(&int3, information(SOFTWARE_EXCEPTION, BP), 0, 1);
}

CHECK(own_into, "vectoring/into", NEEDS_L2, VECTORING,
      "An EPT violation in delivering L2's INTO reports a software exception and the instruction's length")
{
    must_vector_own(&into, information(SOFTWARE_EXCEPTION, OF), 0, 1);
}

/* The IDT itself is absent, or its gate is not there. */
static u8 idt_page[PAGE_SIZE] PAGE_ALIGNED;

CHECK(idt_absent, "vectoring/idt-absent", NEEDS_L2, VECTORING,
      "An EPT violation of the read of L2's IDT in delivering #UD reports that exception as IDT-vectoring information")
{
    l2_prepare(ud2.start);
    vmcs_write(GUEST_IDTR_BASE, address_of(idt_page));
    ept_protect(idt_page, EPT_NOTHING);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("guest_physical_address", exit.guest_physical_address & ~(u64)7, address_of(idt_page) + 8 * VECTOR_UD);
    must("idt_vectoring_information", exit.idt_vectoring_information, information(HARDWARE_EXCEPTION, VECTOR_UD));
    must("exit_qualification_access", exit.qualification & 7, VIOLATION_READ);
    must_stop_at(&exit, ud2.start);
    noted("guest_linear_address", exit.guest_linear_address);
}

CHECK(gate_absent, "vectoring/gate-absent", NEEDS_L2, VECTORING,
      "An #NP for the gate of L2's #UD exits by the exception bitmap with the #UD as IDT-vectoring information")
{
    enum { VECTOR_NP = 11, IN_IDT = 2, EXTERNAL_EVENT = 1 };
    l2_prepare(ud2.start);
    fill32(idt_page, 0, sizeof idt_page / 4);
    ((u64 *)(u32)idt_page)[VECTOR_UD] = (u64)0x0E00 << 32; /* not present */
    vmcs_write(GUEST_IDTR_BASE, address_of(idt_page));
    vmcs_write(EXCEPTION_BITMAP, 1u << VECTOR_NP);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_interruption_information", exit.interruption_information, information(HARDWARE_EXCEPTION, VECTOR_NP));
    must("exit_interruption_error_code", exit.interruption_error_code, VECTOR_UD << 3 | IN_IDT | EXTERNAL_EVENT);
    must("idt_vectoring_information", exit.idt_vectoring_information, information(HARDWARE_EXCEPTION, VECTOR_UD));
    saw_exit(&exit, ud2.start);
}

CHECK(page_fault, "vectoring/page-fault", NEEDS_L2, VECTORING,
      "A #PF in delivering L2's #UD exits by the exception bitmap with the #UD as IDT-vectoring information")
{
    enum { ABSENT = 0x40000000 };
    l2_prepare(ud2.start);
    l2_use_32_bit_paging();
    l2_tables.directory[ABSENT >> 22] = 0;
    l2_turn_paging_on();
    vmcs_write(GUEST_RSP, ABSENT + 0x100);
    vmcs_write(EXCEPTION_BITMAP, 1u << VECTOR_PF);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, 0);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, 0);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_interruption_information", exit.interruption_information, information(HARDWARE_EXCEPTION, VECTOR_PF));
    must("error_code", exit.error_code, 2);
    must("page", exit.qualification & ~(u64)0xFFF, ABSENT);
    must("idt_vectoring_information", exit.idt_vectoring_information, information(HARDWARE_EXCEPTION, VECTOR_UD));
    noted("exit_qualification", exit.qualification);
    noted("cr2", exit.qualification);
    saw("interruptibility_state", exit.interruptibility_state);
}

CHECK(double_fault, "vectoring/double-fault", NEEDS_L2, VECTORING,
      "A double fault that exits by the exception bitmap has no valid IDT-vectoring information, and error code 0")
{
    l2_prepare(ud2.start);
    vmcs_write(GUEST_IDTR_LIMIT, 0);
    vmcs_write(EXCEPTION_BITMAP, 1u << DF);
    l2_registers.eax = ERROR_CODE | 0x400;
    struct vm_exit exit = l2_try(&load_ds);
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_interruption_information", exit.interruption_information, information(HARDWARE_EXCEPTION, DF));
    must("error_code", exit.error_code, 0);
    must("idt_vectoring_valid", exit.idt_vectoring_information >> 31, 0);
    saw_exit(&exit, load_ds.start);
}

CHECK(triple_fault, "vectoring/triple-fault", NEEDS_L2, VECTORING,
      "A triple fault of L2 exits with reason 2 and no valid IDT-vectoring information")
{
    l2_prepare(ud2.start);
    vmcs_write(GUEST_IDTR_LIMIT, 0);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_TRIPLE_FAULT);
    must("idt_vectoring_valid", exit.idt_vectoring_information >> 31, 0);
    must("exit_interruption_valid", exit.interruption_information >> 31, 0);
    saw_exit(&exit, ud2.start);
}
