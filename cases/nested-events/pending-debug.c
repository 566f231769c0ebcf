/* F-14: pending debug exceptions at VM exit and entry. */
#include "stage.h"

#define LOADING "Delivery of Pending Debug Exceptions after VM Entry (Vol. 3, 27.7.3)"
enum { RFLAGS_TF = 0x102, DB = 1, BS = 1 << 14, ENABLED_BREAKPOINT = 1 << 12, B0 = 1 };

L2_CODE(pop_no_tf, "pushl $0x002\npopfl");
L2_CODE(pop_tf, "pushl $0x102\npopfl");
L2_CODE(pop_tf_nop, "pushl $0x102\npopfl\nnop\nl2_after_nop: nop");
L2_CODE(pop_tf_mov_ss, "movl %ss, %eax\npushl $0x102\npopfl\nmovl %eax, %ss");
L2_CODE(nop, "nop\nnop");
L2_CODE(icebp, ".byte 0xF1");
extern const char l2_after_nop[];

CHECK(no_tf, "F-14/no-tf", NEEDS_L2, SAVING_STATE,
      "Control: a VMCALL with RFLAGS.TF=0 exits with no pending debug exception saved")
{
    l2_prepare(pop_no_tf.start);
    struct vm_exit exit = l2_run();
    must("pending_debug_exceptions", exit.pending_debug_exceptions, 0);
    must_execute(&exit, &pop_no_tf);
}

CHECK(tf, "F-14/vmcall", NEEDS_L2, SAVING_STATE,
      "A VMCALL with RFLAGS.TF=1 exits with no pending debug exception saved")
{
    l2_prepare(pop_tf.start);
    struct vm_exit exit = l2_run();
    must("pending_debug_exceptions", exit.pending_debug_exceptions, 0);
    must("rflags_tf", exit.rflags >> 8 & 1, 1);
    must_execute(&exit, &pop_tf);
}

CHECK(delivered, "F-14/delivered", NEEDS_L2, SAVING_STATE,
      "RFLAGS.TF=1 causes #DB after the next instruction of L2, by its own IDT, and nothing stays pending")
{
    l2_prepare(pop_tf_nop.start);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, DB);
    must("rip_offset", rip_offset(&exit, l2_after_nop), 0);
    must("pending_debug_exceptions", exit.pending_debug_exceptions, 0);
    saw_exit(&exit, l2_after_nop);
}

CHECK(intercepted, "F-14/intercepted", NEEDS_L2, "Exit Qualification for Debug Exceptions (Vol. 3, 28.2.1)",
      "A #DB of RFLAGS.TF=1 that exits by the exception bitmap has BS in its exit qualification and nothing pending")
{
    l2_prepare(pop_tf_nop.start);
    vmcs_write(EXCEPTION_BITMAP, 1 << DB);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("vector", exit.vector, DB);
    must("exit_qualification_bs", exit.qualification & BS, BS);
    must("rip_offset", rip_offset(&exit, l2_after_nop), 0);
    must("pending_debug_exceptions", exit.pending_debug_exceptions, 0);
    must("rflags_tf", exit.rflags >> 8 & 1, 1);
    saw_exit(&exit, l2_after_nop);
}

CHECK(mov_ss, "F-14/mov-ss", NEEDS_L2, SAVING_STATE,
      "A VMCALL with RFLAGS.TF=1 after a MOV to SS saves no pending debug exception but BS, as the CPU likes")
{
    l2_prepare(pop_tf_mov_ss.start);
    struct vm_exit exit = l2_run();
    must("pending_debug_exceptions_but_bs", exit.pending_debug_exceptions & ~(u64)BS, 0);
    noted("pending_debug_exceptions", exit.pending_debug_exceptions);
    must("interruptibility_state", exit.interruptibility_state, BLOCKING_BY_MOV_SS);
    must_execute(&exit, &pop_tf_mov_ss);
}

CHECK(loaded, "F-14/loaded-bs", NEEDS_L2, LOADING,
      "VM entry with BS pending and RFLAGS.TF=1 delivers #DB before the first instruction of L2")
{
    l2_prepare(nop.start);
    vmcs_write(GUEST_RFLAGS, RFLAGS_TF);
    vmcs_write(GUEST_PENDING_DEBUG_EXCEPTIONS, BS);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, DB);
    must_stop_at(&exit, nop.start);
    must("pending_debug_exceptions", exit.pending_debug_exceptions, 0);
    saw_exit(&exit, nop.start);
}

CHECK(loaded_breakpoint, "F-14/loaded-breakpoint", NEEDS_L2, LOADING,
      "VM entry with an enabled breakpoint pending delivers #DB before the first instruction of L2")
{
    l2_prepare(nop.start);
    vmcs_write(GUEST_PENDING_DEBUG_EXCEPTIONS, ENABLED_BREAKPOINT | B0);
    vmcs_write(EXCEPTION_BITMAP, 1 << DB);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("vector", exit.vector, DB);
    must_stop_at(&exit, nop.start);
    must("exit_qualification_b0", exit.qualification & B0, B0);
    saw_exit(&exit, nop.start);
}

CHECK(loaded_mov_ss, "F-14/loaded-mov-ss", NEEDS_L2, LOADING,
      "VM entry with blocking by MOV SS and BS pending executes one instruction of L2 before the #DB")
{
    l2_prepare(nop.start);
    vmcs_write(GUEST_RFLAGS, RFLAGS_TF);
    vmcs_write(GUEST_PENDING_DEBUG_EXCEPTIONS, BS);
    vmcs_write(GUEST_INTERRUPTIBILITY_STATE, BLOCKING_BY_MOV_SS);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, DB);
    must("rip_offset", rip_offset(&exit, nop.start), 1);
    saw_exit(&exit, nop.start);
}

CHECK(int1, "F-14/int1", NEEDS_L2, "Information for VM Exits Due to Vectored Events (Vol. 3, 28.2.2)",
      "An INT1 of L2 that exits by the exception bitmap is a privileged software exception, one byte long")
{
    l2_prepare(icebp.start);
    vmcs_write(EXCEPTION_BITMAP, 1 << DB);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_EXCEPTION_OR_NMI);
    must("exit_interruption_information", exit.interruption_information, INFORMATION_VALID | 5 << 8 | DB);
    must("instruction_length", exit.instruction_length, 1);
    must_stop_at(&exit, icebp.start);
    saw_exit(&exit, icebp.start);
}
