/* The record of an L2 exit: the fields that the SDM defines for the exit, and no others. */
#include "ept.h"
#include "l2.h"
#include "record.h"

enum { INFORMATION_VALID = 1u << 31, ERROR_CODE_VALID = 1 << 11, PDPTES_BYTES = 32 };

/* What a VM exit saves of a PDPTE: bits 11:9 are undefined, and all but bit 0 of one that is not present are, too (SDM,
   "Saving Non-Register State"). */
enum { PDPTE_UNDEFINED = 0xE00, PDPTE_PRESENT = 1 };

/* Exit qualification of an EPT violation, field by field. Bit 6 (without mode-based execute control) and bits 11:9
   (without a linear address) are undefined: SDM, "Exit Qualification for EPT Violations". */
struct violation {
    u32 access, allowed, linear_address_valid, translated;
};

static struct violation violation_of(const struct vm_exit *exit)
{
    u32 qualification = exit->qualification;
    return (struct violation){
        .access = qualification & 7,
        .allowed = qualification >> 3 & 7,
        .linear_address_valid = qualification >> 7 & 1,
        .translated = qualification >> 8 & 1,
    };
}

u64 rip_offset(const struct vm_exit *exit, const void *instruction)
{
    u64 rip = exit->exception ? exit->exception_rip : exit->rip;
    u64 offset = rip - address_of(instruction);
    return rip >> 32 ? offset : (u32)offset;
}

void must_stop_at(const struct vm_exit *exit, const void *instruction)
{
    if (!exit->failed_entry)
        must("rip_offset", rip_offset(exit, instruction), 0);
}

/* The exit reason that is required. False when it is another, and nothing more can be required. */
static bool must_exit_for(const struct vm_exit *exit, enum exit_reason reason)
{
    if (!exit->failed_entry)
        must("exit_reason", exit->reason, reason);
    return !exit->failed_entry && exit->reason == reason;
}

/* Which of the four PDPTEs is read first, and in what pieces, the SDM does not say. */
static void must_be_at_pdptes(const struct vm_exit *exit, u32 cr3)
{
    must("guest_physical_address", exit->guest_physical_address & ~(u64)(PDPTES_BYTES - 1), cr3 & ~(PDPTES_BYTES - 1u));
    noted("guest_physical_address_in_pdptes", exit->guest_physical_address & (PDPTES_BYTES - 1));
}

void must_violate_at_pdptes(const struct vm_exit *exit, u32 cr3, u32 allowed)
{
    if (!must_exit_for(exit, EXIT_EPT_VIOLATION))
        return;
    struct violation violation = violation_of(exit);
    must_be_at_pdptes(exit, cr3);
    must("exit_qualification_access", violation.access, VIOLATION_READ);
    must("exit_qualification_allowed", violation.allowed, allowed);
    /* A PDPTE load has no linear address, and bit 8 is 0 whenever bit 7 is. */
    must("exit_qualification_linear_valid", violation.linear_address_valid, 0);
    must("exit_qualification_translated", violation.translated, 0);
}

void must_misconfigure_at_pdptes(const struct vm_exit *exit, u32 cr3)
{
    if (!must_exit_for(exit, EXIT_EPT_MISCONFIGURATION))
        return;
    must_be_at_pdptes(exit, cr3);
    /* Cleared, as in every exit for which the SDM lists nothing ("Basic VM-Exit Information"). */
    must("exit_qualification", exit->qualification, 0);
}

void must_violate_in_walk(const struct vm_exit *exit, u64 entry, u32 linear, u32 access)
{
    if (!must_exit_for(exit, EXIT_EPT_VIOLATION))
        return;
    struct violation violation = violation_of(exit);
    must("guest_physical_address", exit->guest_physical_address, entry);
    must("exit_qualification_access", violation.access, access);
    must("exit_qualification_allowed", violation.allowed, 0);
    must("exit_qualification_linear_valid", violation.linear_address_valid, 1);
    must("exit_qualification_translated", violation.translated, 0);
    /* In what pieces instructions are fetched the SDM does not say: the page decides. */
    must("guest_linear_page", exit->guest_linear_address & ~(u64)(PAGE_SIZE - 1), linear & ~(PAGE_SIZE - 1));
    noted("guest_linear_address", exit->guest_linear_address);
}

void must_hold_pdptes(const struct vm_exit *exit, const u64 pdptes[4])
{
    static const char *const names[] = { "guest_pdpte0", "guest_pdpte1", "guest_pdpte2", "guest_pdpte3" };
    if (exit->failed_entry)
        return;
    for (u32 index = 0; index < ARRAY_SIZE(names); index++) {
        u64 defined = pdptes[index] & PDPTE_PRESENT ? ~(u64)PDPTE_UNDEFINED : PDPTE_PRESENT;
        must(names[index], exit->pdpte[index] & defined, pdptes[index] & defined);
    }
}

static void saw_violation(const struct vm_exit *exit)
{
    struct violation violation = violation_of(exit);
    saw("exit_qualification_access", violation.access);
    saw("exit_qualification_allowed", violation.allowed);
    saw("exit_qualification_linear_valid", violation.linear_address_valid);
    saw("exit_qualification_translated", violation.translated);
    noted("exit_qualification", exit->qualification);
    if (!violation.linear_address_valid)
        noted("guest_linear_address", exit->guest_linear_address);
    else if (!said("guest_linear_page"))
        saw("guest_linear_address", exit->guest_linear_address);
}

/* An event's error code is defined where its information says that it has one. */
static void saw_event(u32 information, u32 error_code, const char *name, const char *error_code_name)
{
    if (!(information & INFORMATION_VALID))
        return;
    saw(name, information);
    if (information & ERROR_CODE_VALID)
        saw(error_code_name, error_code);
}

static void saw_registers(const struct vm_exit *exit, const void *instruction)
{
    saw("rip_offset", rip_offset(exit, instruction));
    saw("cr0", exit->cr0);
    saw("cr3", exit->cr3);
    saw("cr4", exit->cr4);
}

void saw_exit(const struct vm_exit *exit, const void *instruction)
{
    if (exit->failed_entry) {
        saw("vm_instruction_error", exit->instruction_error);
        wrong("VM entry failed");
        return;
    }
    saw("exit_reason", exit->reason);
    if (exit->reason & ENTRY_FAILURE) {
        saw("exit_qualification", exit->qualification);
        saw_registers(exit, instruction);
        return;
    }
    if (exit->exception) {
        saw("vector", exit->vector);
        saw("error_code", exit->error_code);
        noted("cr2", exit->exception_cr2);
    }
    if (exit->reason == EXIT_EPT_VIOLATION || exit->reason == EXIT_EPT_MISCONFIGURATION) {
        if (!said("guest_physical_address"))
            saw("guest_physical_address", exit->guest_physical_address);
    }
    if (exit->reason == EXIT_EPT_VIOLATION)
        saw_violation(exit);
    else if (exit->reason == EXIT_PML_FULL)
        noted("exit_qualification", exit->qualification); /* bit 12 alone is defined, and that not always */
    else
        saw("exit_qualification", exit->qualification); /* other exits clear what they do not define */
    saw_event(exit->interruption_information, exit->interruption_error_code, "exit_interruption_information",
              "exit_interruption_error_code");
    saw_event(exit->idt_vectoring_information, exit->idt_vectoring_error_code, "idt_vectoring_information",
              "idt_vectoring_error_code");
    saw_registers(exit, instruction);
    noted("rflags_rf", exit->rflags >> 16 & 1); /* Bochs 2.7 saves it as 0 always: for checks of its own */
    saw("interruptibility_state", exit->interruptibility_state);
    saw("activity_state", exit->activity_state);
    saw("pending_debug_exceptions", exit->pending_debug_exceptions);
}
