/* Who may execute VMX instructions, what flags they leave, and what VMXON takes. */
#include "stage.h"

#include "ept.h"
#include "user.h"
#include "window.h"

#define INSTRUCTIONS "VMX Instructions (Vol. 3, 31.3)"
#define CONVENTIONS "Conventions (Vol. 3, 31.2)"

/* One instruction each, and UD2: an exception of the second shows in EIP. EAX is the address of an operand. */
#define CODES(CODE)                                                                           \
    CODE(vmclear, "vmclear (%eax)")                                                           \
    CODE(vmptrld, "vmptrld (%eax)")                                                           \
    CODE(vmptrst, "vmptrst (%eax)")                                                           \
    CODE(vmread, "vmread %ecx, %edx")                                                         \
    CODE(vmwrite, "vmwrite %ecx, %edx")                                                       \
    CODE(vmlaunch, "vmlaunch")                                                                \
    CODE(vmresume, "vmresume")                                                                \
    CODE(vmxoff, "vmxoff")                                                                    \
    CODE(invept, "invept (%eax), %ecx")                                                       \
    CODE(invvpid, "invvpid (%eax), %ecx")                                                     \
    CODE(vmxon, "vmxon (%eax)")
enum { CODE_BYTES = 16, ALL_BUT_VMXON = 10 };
#define CODE_TEXT(name, assembly) ".balign 16\n" assembly "\nud2\n"
#define CODE_COUNTED(name, assembly) +1
extern const char codes[];
asm(".pushsection .text\n.balign 16\ncodes:\n" CODES(CODE_TEXT) ".balign 16\n.popsection\n");
enum { CODE_COUNT = CODES(CODE_COUNTED) };

/* The exception at the first byte as its vector and error code, or what came of the rest. */
static u32 outcome(struct trap trap, u32 start)
{
    return (trap.eip - start) << 24 | trap.error_code << 8 | trap.vector;
}

/* At CPL 3, from a user page; in VMX operation or not. */
static void each_at_cpl_3(bool in_vmx_operation, u32 count, u32 required)
{
    struct tally tally = { 0 };
    u32 came_to[CODE_COUNT];
    entry_prepare();
    vmx_suspend();
    window_enter(PAGING_32_BIT, PTE_USER | PTE_WRITABLE | PTE_PRESENT);
    if (in_vmx_operation)
        vmx_resume();
    else
        write_cr4(read_cr4() | CR4_VMXE);
    u32 start = (u32)window_address();
    for (u32 index = 0; index < count; index++) {
        for (u32 byte = 0; byte < CODE_BYTES; byte++)
            window_page[byte] = (u8)codes[index * CODE_BYTES + byte];
        came_to[index] = outcome(trap_in_user(start, start), start);
    }
    if (in_vmx_operation)
        vmx_suspend();
    window_leave();
    vmx_resume();
    for (u32 index = 0; index < count; index++)
        tally_turn(&tally, index, came_to[index], required);
    must_tally(&tally);
}

CHECK(user, "E-40/cpl-3", NEEDS_L2, INSTRUCTIONS,
      "Each VMX instruction causes #GP(0) at CPL 3 in VMX root operation, VMXON and VMXOFF among them")
{
    each_at_cpl_3(true, CODE_COUNT, VECTOR_GP);
}

CHECK(user_outside, "E-40/cpl-3-outside", NEEDS_L2, INSTRUCTIONS,
      "Each VMX instruction but VMXON causes #UD at CPL 3 outside VMX operation")
{
    each_at_cpl_3(false, ALL_BUT_VMXON, VECTOR_UD);
}

CHECK(outside, "E-40/outside", NEEDS_L2, INSTRUCTIONS,
      "Each VMX instruction but VMXON causes #UD at CPL 0 outside VMX operation")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmx_clear_vmcs();
    vmx_off();
    u32 came_to[ALL_BUT_VMXON];
    for (u32 index = 0; index < ALL_BUT_VMXON; index++) {
        const char *code = codes + index * CODE_BYTES;
        came_to[index] = outcome(trap_in((void (*)(u32))code, 0), address_of(code));
    }
    vmx_on_again();
    vmx_load_vmcs();
    for (u32 index = 0; index < ALL_BUT_VMXON; index++)
        tally_turn(&tally, index, came_to[index], VECTOR_UD);
    must_tally(&tally);
}

/* All arithmetic flags are set before the instruction. */
enum { ALL_FLAGS = 0x8D5, ZERO_FLAG = 1 << 6, CARRY_FLAG = 1 };
#define WITH_ALL_FLAGS(instruction, ...)                                                                       \
    ({                                                                                                         \
        u32 flags;                                                                                             \
        asm volatile("pushfl; orl %1, (%%esp); popfl; "                                                        \
                     instruction "; pushfl; popl %0"                                                           \
                     : "=&r"(flags)                                                                            \
                     : "i"(ALL_FLAGS), __VA_ARGS__                                                             \
                     : "eax", "cc", "memory");                                                                 \
        flags & ALL_FLAGS;                                                                                     \
    })

CHECK(flags, "E-40/flags", NEEDS_L2, CONVENTIONS,
      "A VMX instruction clears CF, PF, AF, ZF, SF and OF when it succeeds, and sets ZF or CF alone when it fails")
{
    u64 pointer = 0, vmcs = vmx_regions().vmcs, odd = vmcs | 1;
    entry_prepare();
    struct invept_descriptor descriptor = { ept_pointer(), 0 };
    must("vmptrst", WITH_ALL_FLAGS("vmptrst %2", "m"(pointer)), 0);
    must("vmptrld", WITH_ALL_FLAGS("vmptrld %2", "m"(vmcs)), 0);
    must("vmread", WITH_ALL_FLAGS("vmread %2, %%eax", "r"(GUEST_ES_BASE)), 0);
    must("vmread_of_rip", WITH_ALL_FLAGS("vmread %2, %%eax", "r"(GUEST_RIP)), 0);
    must("vmwrite", WITH_ALL_FLAGS("vmwrite %3, %2", "r"(GUEST_ES_BASE), "r"(0)), 0);
    must("invept", WITH_ALL_FLAGS("invept %2, %3", "m"(descriptor), "r"(2)), 0);
    must("vmptrld_fails", WITH_ALL_FLAGS("vmptrld %2", "m"(odd)), ZERO_FLAG);
    must("vmclear_fails", WITH_ALL_FLAGS("vmclear %2", "m"(odd)), ZERO_FLAG);
    must("vmread_fails", WITH_ALL_FLAGS("vmread %2, %%eax", "r"(1 << 16)), ZERO_FLAG);
    must("vmresume_fails", WITH_ALL_FLAGS("vmresume", "i"(0)), ZERO_FLAG);
    must("vmclear", WITH_ALL_FLAGS("vmclear %2", "m"(vmcs)), 0);
    must("vmread_without_vmcs", WITH_ALL_FLAGS("vmread %2, %%eax", "r"(GUEST_RIP)), CARRY_FLAG);
    must("vmclear_without_vmcs", WITH_ALL_FLAGS("vmclear %2", "m"(odd)), CARRY_FLAG);
    must("vmlaunch_without_vmcs", WITH_ALL_FLAGS("vmlaunch", "i"(0)), CARRY_FLAG);
    vmx_load_vmcs();
}

/* VMXON from outside of VMX operation: VMfailInvalid for whatever is wrong with its region. */
CHECK(region, "E-40/vmxon-region", NEEDS_L2, INSTRUCTIONS,
      "VMXON ends in VMfailInvalid for a region that is not aligned, too high, or has another revision identifier")
{
    static u32 region[PAGE_SIZE / 4] PAGE_ALIGNED;
    struct tally tally = { 0 };
    entry_prepare();
    vmx_clear_vmcs();
    vmx_off();
    u64 address = address_of(region), bad = BITS(0, 11) | beyond_physical_addresses();
    region[0] = vmx_revision();
    for (u64 bit = 1; bit; bit <<= 1)
        if (bad & bit)
            tally_turn(&tally, bit, vmx_vmxon(address | bit), VM_FAIL_INVALID);
    for (u32 bit = 0; bit < 32; bit++) {
        region[0] = vmx_revision() ^ 1u << bit;
        tally_turn(&tally, (u64)bit << 32, vmx_vmxon(address), VM_FAIL_INVALID);
    }
    u64 none = 0;
    vmx_on_again();
    vmx_vmptrst(&none);
    vmx_load_vmcs();
    must("current_vmcs", none, ~(u64)0);
    must_tally(&tally);
}
