/* Event injection: which interruption information, error codes and instruction lengths VM entry accepts. */
#include "stage.h"

enum event_type {
    INTERRUPT, RESERVED, NMI, EXCEPTION, SOFTWARE_INTERRUPT, PRIVILEGED_SOFTWARE, SOFTWARE, OTHER, TYPES
};
enum { ERROR_CODE = 1 << 11, MOST_LENGTH = 15, VECTORS = 256 };
#define VALID (1u << 31)
#define INFORMATION(type, vector) (VALID | (u32)(type) << 8 | (vector))

static u64 try_event(u32 information)
{
    vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, information);
    return entry_try();
}

/* Ready for an event; a VM exit clears the valid bit, a VM entry that is refused does not. */
static void prepare(void)
{
    entry_prepare();
    vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, 0);
    vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, 1);
}

static void must_refuse_vectors(enum event_type type, u32 first, u32 last, u32 but)
{
    struct tally tally = { 0 };
    prepare();
    for (u32 vector = first; vector <= last; vector++)
        if (vector != but)
            tally_turn(&tally, INFORMATION(type, vector), try_event(INFORMATION(type, vector)), ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

CHECK(not_valid, "E-23/control-not-valid", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "Control: VM entry succeeds with any interruption information whose valid bit is 0")
{
    struct tally tally = { 0 };
    prepare();
    vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, ~0u);
    vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, ~0u);
    tally_turn(&tally, 0, try_event(~VALID), ENTRY_RAN);
    for (u32 type = INTERRUPT; type < TYPES; type++)
        tally_turn(&tally, type << 8, try_event(INFORMATION(type, 0xFF) & ~VALID), ENTRY_RAN);
    must_tally(&tally);
}

CHECK(reserved_type, "E-23/reserved-type", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for an event of type 1, which is reserved, with any vector")
{
    must_refuse_vectors(RESERVED, 0, VECTORS - 1, VECTORS);
}

CHECK(nmi_vector, "E-23/nmi-vector", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for an NMI with a vector that is not 2")
{
    must_refuse_vectors(NMI, 0, VECTORS - 1, VECTOR_NMI);
}

CHECK(exception_vector, "E-23/exception-vector", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for a hardware exception with a vector above 31")
{
    must_refuse_vectors(EXCEPTION, 32, VECTORS - 1, VECTORS);
}

/* Without it type 7 is reserved; what Bochs 2.7 does with it then is a panic, which would end the boot. */
static void need_monitor_trap_flag(void)
{
    if (!(vmcs_allowed_controls(PRIMARY_PROCESSOR_BASED_CONTROLS) >> 32 & MONITOR_TRAP_FLAG))
        skip("no monitor trap flag");
}

CHECK(other_vector, "E-23/other-event-vector", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for an event of type 7 with a vector that is not 0")
{
    need_monitor_trap_flag();
    must_refuse_vectors(OTHER, 1, VECTORS - 1, VECTORS);
}

CHECK(other_type, "E-23/control-other-event", NEEDS_L2, "Pending MTF VM Exits (Vol. 3, 27.5.2)",
      "Control: VM entry that injects an event of type 7 causes an MTF exit before L2 executes an instruction")
{
    need_monitor_trap_flag();
    prepare();
    must("outcome", try_event(INFORMATION(OTHER, 0)), ENTRY_OTHER_EXIT | EXIT_MONITOR_TRAP_FLAG);
}

CHECK(reserved_bits, "E-23/reserved-bits", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for each of bits 30:12 of the interruption information")
{
    struct tally tally = { 0 };
    prepare();
    for (u32 bit = 12; bit < 31; bit++)
        tally_turn(&tally, 1u << bit, try_event(INFORMATION(EXCEPTION, VECTOR_UD) | 1u << bit), ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

/* Exceptions whose vector decides about the error code on each CPU of Intel's: without 15 and 21 and up. */
static const u32 with_error_code = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;
static const u32 decided = 0x1F7FFF; /* vectors 0 to 14 and 16 to 20 */
#define ANY_ERROR_CODE ((u64)1 << 56) /* of IA32_VMX_BASIC: the vector does not decide */

CHECK(error_code, "E-23/error-code", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for an exception that delivers an error code and has none, or the other way round")
{
    struct tally tally = { 0 };
    if (read_msr(IA32_VMX_BASIC) & ANY_ERROR_CODE)
        skip("exceptions are injected with and without an error code, whatever their vector");
    prepare();
    for (u32 vector = 0; vector < 21; vector++) {
        u32 wrong = with_error_code >> vector & 1 ? 0 : ERROR_CODE;
        if (decided >> vector & 1)
            tally_turn(&tally, INFORMATION(EXCEPTION, vector) | wrong,
                       try_event(INFORMATION(EXCEPTION, vector) | wrong), ENTRY_CONTROLS_INVALID);
    }
    must_tally(&tally);
}

CHECK(injected, "E-23/control-exceptions", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "Control: VM entry with each hardware exception runs the handler of its vector, with the error code")
{
    struct tally tally = { 0 };
    for (u32 vector = 0; vector < 21; vector++) {
        if (!(decided >> vector & 1))
            continue;
        u32 code = with_error_code >> vector & 1 ? 0x5A50 : 0;
        prepare();
        vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, code);
        vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION(EXCEPTION, vector) | (code ? ERROR_CODE : 0));
        struct vm_exit exit = l2_run();
        u64 seen = exit.exception ? (u64)exit.error_code << 32 | exit.vector : exit.reason | ENTRY_OTHER_EXIT;
        tally_turn(&tally, vector, seen, (u64)code << 32 | vector);
    }
    must_tally(&tally);
}

CHECK(error_code_type, "E-23/error-code-type", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for an event with an error code that is no hardware exception")
{
    struct tally tally = { 0 };
    prepare();
    for (u32 type = INTERRUPT; type < TYPES; type++) {
        u32 information = INFORMATION(type, type == NMI ? VECTOR_NMI : type == OTHER ? 0 : VECTOR_GP) | ERROR_CODE;
        if (type != EXCEPTION)
            tally_turn(&tally, information, try_event(information), ENTRY_CONTROLS_INVALID);
    }
    must_tally(&tally);
}

CHECK(real_mode, "E-23/error-code-real-mode", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry of an unrestricted guest with CR0.PE=0 fails with error 7 for an exception with an error code")
{
    struct tally tally = { 0 };
    prepare();
    l2_real_mode();
    for (u32 vector = 0; vector < 21; vector++)
        if (with_error_code >> vector & 1)
            tally_turn(&tally, vector, try_event(INFORMATION(EXCEPTION, vector) | ERROR_CODE), ENTRY_CONTROLS_INVALID);
    must_tally(&tally);
}

CHECK(error_code_bits, "E-23/error-code-bits", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for each of bits 31:16 of an error code that is delivered")
{
    struct tally tally = { 0 };
    prepare();
    for (u32 bit = 16; bit < 32; bit++) {
        u32 information = INFORMATION(EXCEPTION, VECTOR_GP) | ERROR_CODE;
        vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, 1u << bit);
        tally_turn(&tally, 1u << bit, try_event(information), ENTRY_CONTROLS_INVALID);
    }
    must_tally(&tally);
}

CHECK(length, "E-23/instruction-length", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "VM entry fails with error 7 for a software event with instruction length above 15, or 0 if not allowed")
{
    struct tally tally = { 0 };
    bool zero_allowed = read_msr(IA32_VMX_MISC) >> 30 & 1;
    prepare();
    for (u32 type = SOFTWARE_INTERRUPT; type <= SOFTWARE; type++) {
        u32 information = INFORMATION(type, type == PRIVILEGED_SOFTWARE ? 1 : 3);
        for (u32 length = MOST_LENGTH + 1; length; length <<= 1) {
            vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, length);
            tally_turn(&tally, (u64)length << 32 | information, try_event(information), ENTRY_CONTROLS_INVALID);
        }
        if (!zero_allowed) {
            vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, 0);
            tally_turn(&tally, information, try_event(information), ENTRY_CONTROLS_INVALID);
        }
    }
    must_tally(&tally);
}

CHECK(lengths, "E-23/control-instruction-length", NEEDS_L2, SDM_ENTRY_CONTROLS,
      "Control: VM entry with a software interrupt stores RIP plus each instruction length of 1 to 15 on L2's stack")
{
    struct tally tally = { 0 };
    for (u32 length = 1; length <= MOST_LENGTH; length++) {
        prepare();
        u32 rip = vmcs_read(GUEST_RIP);
        vmcs_write(VM_ENTRY_INSTRUCTION_LENGTH, length);
        vmcs_write(VM_ENTRY_INTERRUPTION_INFORMATION, INFORMATION(SOFTWARE_INTERRUPT, 5));
        struct vm_exit exit = l2_run();
        tally_turn(&tally, length, exit.exception && exit.vector == 5 ? exit.exception_rip - rip : ~(u64)0, length);
    }
    must_tally(&tally);
}
