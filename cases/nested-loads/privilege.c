/* F-13: the privilege level that L2 runs at is SS.DPL, in each mode. */
#include "check.h"
#include "cpu.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define LOADING "Loading Guest Segment Registers and Descriptor-Table Registers (Vol. 3, 27.3.2.2)"
enum { CONFORMING_CODE = 0xC09F };

L2_CODE(clts, "clts");
L2_CODE(from_cr0, "movl %cr0, %eax");
L2_CODE(hlt, "hlt");

static void in_real_mode(const struct l2_code *code, u32 cs, u32 ss)
{
    l2_prepare(code->start);
    l2_real_mode();
    vmcs_write(GUEST_CS_SELECTOR, cs);
    vmcs_write(GUEST_SS_SELECTOR, ss);
}

static void must_run_at_0(const struct l2_code *code, u32 cs, u32 ss)
{
    in_real_mode(code, cs, ss);
    struct vm_exit exit = l2_run();
    must("cs_selector", vmcs_read(GUEST_CS_SELECTOR), cs);
    must("ss_dpl", vmcs_read(GUEST_SS_ACCESS_RIGHTS) >> 5 & 3, 0);
    must_execute(&exit, code);
}

CHECK(real_0, "F-13/real-rpl-0", NEEDS_L2, LOADING,
      "Control: CLTS executes in an L2 in real-address mode whose CS selector has bits 1:0 = 00b")
{
    must_run_at_0(&clts, 0x1000, SELECTOR_DATA);
}

#define REAL(rpl, bits)                                                                                  \
    CHECK(clts_##rpl, "F-13/real-rpl-" #rpl, NEEDS_L2, LOADING,                                          \
          "CLTS executes in an L2 in real-address mode whose CS selector has bits 1:0 = " bits)          \
    {                                                                                                    \
        must_run_at_0(&clts, 0x1000 | (rpl), SELECTOR_DATA);                                             \
    }
REAL(1, "01b")
REAL(2, "10b")
REAL(3, "11b")

CHECK(cr0_3, "F-13/real-mov-from-cr0", NEEDS_L2, LOADING,
      "MOV from CR0 executes in an L2 in real-address mode whose CS selector has bits 1:0 = 11b")
{
    must_run_at_0(&from_cr0, 0x1003, SELECTOR_DATA);
}

CHECK(ss_3, "F-13/real-ss", NEEDS_L2, LOADING,
      "CLTS executes in an L2 in real-address mode whose CS and SS selectors have bits 1:0 = 11b")
{
    must_run_at_0(&clts, 0x1003, 0x2003);
}

CHECK(hlt_3, "F-13/real-hlt", NEEDS_L2, LOADING,
      "HLT exits from an L2 in real-address mode whose CS selector has bits 1:0 = 11b")
{
    in_real_mode(&hlt, 0x1003, SELECTOR_DATA);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_HLT);
    must_stop_at(&exit, hlt.start);
    saw_exit(&exit, hlt.start);
}

CHECK(resumed, "F-13/real-resumed", NEEDS_L2, LOADING,
      "CLTS executes after VMRESUME of an L2 in real-address mode whose CS selector has bits 1:0 = 11b")
{
    in_real_mode(&from_cr0, 0x1003, SELECTOR_DATA);
    struct vm_exit first = l2_run();
    saw("first_exit_reason", first.reason);
    struct vm_exit exit = l2_try(&clts);
    must_execute(&exit, &clts);
}

static void in_conforming_code(u32 dpl)
{
    l2_prepare(clts.start);
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, CONFORMING_CODE);
    vmcs_write(GUEST_SS_SELECTOR, SELECTOR_DATA | dpl);
    vmcs_write(GUEST_SS_ACCESS_RIGHTS, vmcs_read(GUEST_SS_ACCESS_RIGHTS) | dpl << 5);
}

CHECK(conforming_0, "F-13/conforming-0", NEEDS_L2, LOADING,
      "Control: CLTS executes in conforming code of DPL 0 when VM entry loads SS.DPL=0")
{
    in_conforming_code(0);
    struct vm_exit exit = l2_run();
    must_execute(&exit, &clts);
}

CHECK(conforming_3, "F-13/conforming-3", NEEDS_L2, LOADING,
      "CLTS in conforming code of DPL 0 causes #GP(0) when VM entry loads SS.DPL=3, as CPL is 3")
{
    in_conforming_code(3);
    struct vm_exit exit = l2_run();
    must_take_exception(&exit, &clts, VECTOR_GP, 0);
}
