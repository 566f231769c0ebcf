#include "mode.h"

#include "cpu.h"
#include "outcome.h"
#include "vmx.h"

static struct mode home;
static bool away;

static void load(struct mode mode)
{
    write_cr0(read_cr0() & ~CR0_PG);
    /* Off before CR0 changes: CR4.CET does not go with CR0.WP = 0 (SDM, "Control Registers"). */
    write_cr4(0);
    write_cr3(mode.cr3);
    write_cr0(mode.cr0 & ~CR0_PG);
    write_cr4(mode.cr4);
    write_cr0(mode.cr0);
}

void mode_enter(struct mode mode)
{
    if (vmx_in_operation())
        misused("mode_enter in VMX operation, which fixes CR0.PG: vmx_off first, or keep such checks in another image");
    if (!away)
        home = (struct mode){ read_cr0(), read_cr3(), read_cr4() };
    away = true;
    load(mode);
}

void mode_leave(void)
{
    if (away)
        load(home);
    away = false;
}

#define MOV_TO_CR(number)                                                  \
    asm(".pushsection .text\n"                                             \
        ".globl mov_to_cr" #number ", mov_to_cr" #number "_instruction\n"  \
        "mov_to_cr" #number ": movl 4(%esp), %eax\n"                       \
        "mov_to_cr" #number "_instruction: movl %eax, %cr" #number "\n"    \
        "ret\n"                                                            \
        ".popsection\n")
MOV_TO_CR(0);
MOV_TO_CR(3);
MOV_TO_CR(4);
