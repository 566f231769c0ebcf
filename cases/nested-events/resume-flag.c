/* F-12: RFLAGS.RF as VM exits save it. */
#include "l2_modes.h"
#include "msr_bitmap.h"
#include "stage.h"

#define SAVING_RFLAGS "Saving RIP, RSP, RFLAGS, and SSP (Vol. 3, 28.3.3)"
enum { RFLAGS_RF = 1 << 16, ABSENT = 0x40000000 };
enum { IA32_PAT = 0x277 };

static u8 page[PAGE_SIZE] PAGE_ALIGNED;

L2_CODE(read_page, "movl (%ebx), %eax");
L2_CODE(write_page, "movl %eax, (%ebx)");
L2_CODE(call_page, "call *%ebx");
L2_CODE(cpuid_code, "cpuid");
L2_CODE(vmcall_code, "vmcall");
L2_CODE(hlt_code, "hlt");
L2_CODE(to_cr0, "movl %eax, %cr0");
L2_CODE(to_cr3, "movl %eax, %cr3");
L2_CODE(to_cr4, "movl %eax, %cr4");
L2_CODE(wrmsr_code, "wrmsr");
L2_CODE(ud2, "ud2");
L2_CODE(int3, "int3");
L2_CODE(divide, "divl %ecx");
L2_CODE(fninit, "fninit");
L2_CODE(load_ds, "movl %eax, %ds");
L2_CODE(bound, "boundl %ecx, (%ebx)");

static void must_save(const struct vm_exit *exit, const struct l2_code *code, u32 reason, u32 rf)
{
    if (!exit->failed_entry)
        must("exit_reason", exit->reason, reason);
    must_stop_at(exit, code->start);
    must("saved_rf", exit->rflags >> 16 & 1, rf);
    saw_exit(exit, code->start);
}

static void stage(const struct l2_code *code)
{
    l2_prepare(code->start);
    l2_registers.ebx = address_of(page);
}

/* Exits that an instruction causes: entered with RF=1, they save 0. */
static void must_save_0(const struct l2_code *code, u32 reason)
{
    vmcs_write(GUEST_RFLAGS, RFLAGS_NO_IF | RFLAGS_RF);
    struct vm_exit exit = l2_run();
    must_save(&exit, code, reason, 0);
}

CHECK(vmcall_0, "F-12/vmcall", NEEDS_L2, SAVING_RFLAGS,
      "Control: a VMCALL that L2 is entered at with RF=1 saves RF as 0")
{
    stage(&vmcall_code);
    must_save_0(&vmcall_code, EXIT_VMCALL);
}

CHECK(cpuid_0, "F-12/cpuid", NEEDS_L2, SAVING_RFLAGS, "Control: a CPUID that L2 is entered at with RF=1 saves RF as 0")
{
    stage(&cpuid_code);
    must_save_0(&cpuid_code, EXIT_CPUID);
}

CHECK(hlt_0, "F-12/hlt", NEEDS_L2, SAVING_RFLAGS, "Control: a HLT that L2 is entered at with RF=1 saves RF as 0")
{
    stage(&hlt_code);
    must_save_0(&hlt_code, EXIT_HLT);
}

CHECK(cr3_0, "F-12/mov-to-cr3", NEEDS_L2, SAVING_RFLAGS,
      "Control: a MOV to CR3 that exits and that L2 is entered at with RF=1 saves RF as 0")
{
    stage(&to_cr3);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, CR3_LOAD_EXITING, "no CR3-load exiting");
    must_save_0(&to_cr3, EXIT_CONTROL_REGISTER_ACCESS);
}

#define VIOLATION(code, id, words)                                                                \
    CHECK(code##_rf, "F-12/violation-" id, NEEDS_L2, SAVING_RFLAGS,                               \
          "An EPT violation that a " words " of L2 causes saves RF as 1")                         \
    {                                                                                             \
        stage(&code);                                                                             \
        ept_protect(page, EPT_NOTHING);                                                           \
        struct vm_exit exit = l2_run();                                                           \
        must_save_violation(&exit, &code);                                                        \
    }
static void must_save_violation(const struct vm_exit *exit, const struct l2_code *code)
{
    must("exit_reason", exit->reason, EXIT_EPT_VIOLATION);
    must("saved_rf", exit->rflags >> 16 & 1, 1);
    saw_exit(exit, code->start);
}
VIOLATION(read_page, "read", "read")
VIOLATION(write_page, "write", "write")
VIOLATION(call_page, "fetch", "fetch")

CHECK(misconfiguration, "F-12/misconfiguration", NEEDS_L2, SAVING_RFLAGS,
      "An EPT misconfiguration that L2 meets saves RF as 1")
{
    stage(&read_page);
    *ept_leaf(page) = address_of(page) | EPT_WRITE_BACK | EPT_WRITE;
    ept_flush();
    struct vm_exit exit = l2_run();
    noted("exit_qualification", exit.qualification); /* nested-pdpte/ judges it */
    must_save(&exit, &read_page, EXIT_EPT_MISCONFIGURATION, 1);
}

/* Exceptions that exit by the exception bitmap. */
static void must_save_1(const struct l2_code *code, u32 vector)
{
    vmcs_write(EXCEPTION_BITMAP, 0xFFFFFFFF);
    struct vm_exit exit = l2_run();
    must("vector", exit.vector, vector);
    must_save(&exit, code, EXIT_EXCEPTION_OR_NMI, 1);
}

CHECK(ud, "F-12/ud", NEEDS_L2, SAVING_RFLAGS, "A #UD that exits by the exception bitmap saves RF as 1")
{
    stage(&ud2);
    must_save_1(&ud2, VECTOR_UD);
}

CHECK(de, "F-12/de", NEEDS_L2, SAVING_RFLAGS, "A #DE that exits by the exception bitmap saves RF as 1")
{
    stage(&divide);
    must_save_1(&divide, 0);
}

CHECK(nm, "F-12/nm", NEEDS_L2, SAVING_RFLAGS, "A #NM that exits by the exception bitmap saves RF as 1")
{
    stage(&fninit);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_TS);
    must_save_1(&fninit, VECTOR_NM);
}

CHECK(gp, "F-12/gp", NEEDS_L2, SAVING_RFLAGS,
      "A #GP of a segment load, which no hypervisor causes, saves RF as 1 when it exits by the exception bitmap")
{
    stage(&load_ds);
    l2_registers.eax = 0x428;
    must_save_1(&load_ds, VECTOR_GP);
}

CHECK(br, "F-12/br", NEEDS_L2, SAVING_RFLAGS, "A #BR that exits by the exception bitmap saves RF as 1")
{
    stage(&bound);
    fill32(page, 0, 2);
    l2_registers.ecx = 5;
    must_save_1(&bound, 5);
}

CHECK(pf, "F-12/pf", NEEDS_L2, SAVING_RFLAGS, "A #PF that exits by the exception bitmap saves RF as 1")
{
    stage(&read_page);
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    l2_tables.directory[ABSENT >> 22] = 0;
    l2_registers.ebx = ABSENT;
    must_save_1(&read_page, VECTOR_PF);
}

CHECK(bp, "F-12/bp", NEEDS_L2, SAVING_RFLAGS,
      "Control: a #BP, which is a trap, saves RF as 0 when it exits by the exception bitmap")
{
    stage(&int3);
    vmcs_write(EXCEPTION_BITMAP, 0xFFFFFFFF);
    struct vm_exit exit = l2_run();
    must_save(&exit, &int3, EXIT_EXCEPTION_OR_NMI, 0);
}

/* Exceptions that a hypervisor below L1 causes itself, for it has intercepted these instructions. */
CHECK(gp_cr0, "F-12/gp-mov-to-cr0", NEEDS_L2, SAVING_RFLAGS,
      "A #GP of MOV to CR0 that exits by the exception bitmap saves RF as 1")
{
    stage(&to_cr0);
    l2_registers.eax = CR0_PE | CR0_ET; /* NE is fixed to 1 */
    must_save_1(&to_cr0, VECTOR_GP);
}

CHECK(gp_cr4, "F-12/gp-mov-to-cr4", NEEDS_L2, SAVING_RFLAGS,
      "A #GP of MOV to CR4 that exits by the exception bitmap saves RF as 1")
{
    stage(&to_cr4);
    must_save_1(&to_cr4, VECTOR_GP);
}

static void about_to_write_msr(u64 value)
{
    stage(&wrmsr_code);
    msr_bitmap_use();
    l2_registers.ecx = IA32_PAT;
    l2_registers.eax = (u32)value;
    l2_registers.edx = (u32)(value >> 32);
}

CHECK(wrmsr, "F-12/wrmsr", NEEDS_L2, SAVING_RFLAGS, "Control: WRMSR of IA32_PAT executes in L2 with all bitmaps clear")
{
    about_to_write_msr(read_msr(IA32_PAT));
    struct vm_exit exit = l2_run();
    must_execute(&exit, &wrmsr_code);
}

CHECK(gp_wrmsr, "F-12/gp-wrmsr", NEEDS_L2, SAVING_RFLAGS,
      "A #GP of WRMSR that exits by the exception bitmap saves RF as 1")
{
    about_to_write_msr(2); /* a reserved memory type */
    must_save_1(&wrmsr_code, VECTOR_GP);
}
