/* How VMX instructions form and check the address of a memory operand. A hypervisor below L1 executes them in the CPU's
   stead, and must do all this by itself. */
#include "stage.h"

#include "l1_mode.h"
#include "long.h"

#define OPERANDS "VMX Instructions (Vol. 3, 31.3); Limit Checking, Type Checking (Vol. 3, 6.3 and 6.5)"
enum { MSR_FS_BASE = 0xC0000100 };

/* The operand lies `BEFORE` bytes into a buffer, or at other offsets from the base of a segment. */
enum { BEFORE = 0x100 };
static u8 buffer[PAGE_SIZE] PAGE_ALIGNED;

/* FS gets SELECTOR_SPARE, and one instruction accesses FS:argument. */
#define OPERAND_IN_FS(name, assembly)                                             \
    asm(".pushsection .text\n"                                                    \
        "try_" #name ":\n"                                                        \
        "    movl 4(%esp), %ecx\n"                                                \
        "    movl $0x20, %eax\n"                                                  \
        "    movl %eax, %fs\n"                                                    \
        "    xorl %eax, %eax\n"                                                   \
        "    " assembly "\n"                                                     \
        "    ret\n"                                                               \
        ".popsection\n");                                                         \
    void try_##name(u32 argument)
OPERAND_IN_FS(vmptrst, "vmptrst %fs:(%ecx)");
OPERAND_IN_FS(vmptrld, "vmptrld %fs:(%ecx)");
OPERAND_IN_FS(vmread, "movl $0x681E, %edx; vmread %edx, %fs:(%ecx)");
OPERAND_IN_FS(vmwrite, "movl $0x4002, %edx; vmwrite %fs:(%ecx), %edx");
OPERAND_IN_FS(invept, "movl $2, %edx; invept %fs:(%ecx), %edx");

struct operand {
    void (*body)(u32 argument);
    u32 bytes;
    bool writes;
};
static const struct operand operands[] = {
    { try_vmptrst, 8, true },  { try_vmptrld, 8, false },  { try_vmread, 4, true },
    { try_vmwrite, 4, false }, { try_invept, 16, false },
};

/* What the buffer holds serves each of these as operand. */
static void fill_buffer(void)
{
    u64 pointer = vmx_regions().vmcs;
    for (u32 word = 0; word < PAGE_SIZE / sizeof(u64); word++)
        ((u64 *)buffer)[word] = pointer;
}

enum { LIMIT = 0x1FF };
enum { READ_WRITE = 3, READ_ONLY = 1, EXPAND_DOWN = 7, READABLE_CODE = 11 };

/* The spare descriptor: 32-bit, byte granular. */
static void describe(u32 base, u32 limit, u32 type)
{
    gdt_write(SELECTOR_SPARE, (u64)(base >> 24) << 56 | (u64)(0x40 | limit >> 16) << 48 | (u64)(0x90 | type) << 40 |
                                  (u64)(base & 0xFFFFFF) << 16 | (limit & 0xFFFF));
}

static void reset_fs(void)
{
    asm volatile("movl %0, %%fs" : : "r"(SELECTOR_DATA));
}

/* No exception is 0, another its vector with its error code above bit 8. */
static u32 outcome(struct trap trap)
{
    reset_fs();
    return trap.taken ? trap.error_code << 8 | trap.vector : 0;
}

/* Each operand just within the limit and just beyond it; `writable` is whether those that are written may be. */
static void each_operand(u32 type, bool writable)
{
    struct tally tally = { 0 };
    entry_prepare();
    fill_buffer();
    describe(address_of(buffer), LIMIT, type);
    for (u32 index = 0; index < ARRAY_SIZE(operands); index++) {
        const struct operand *operand = &operands[index];
        u32 good = type == EXPAND_DOWN ? LIMIT + 1 : LIMIT + 1 - operand->bytes;
        u32 bad = type == EXPAND_DOWN ? LIMIT : good + 1;
        u32 allowed = operand->writes && !writable ? VECTOR_GP : 0;
        tally_turn(&tally, index << 4, outcome(trap_in(operand->body, good)), allowed);
        tally_turn(&tally, index << 4 | 1, outcome(trap_in(operand->body, bad)), VECTOR_GP);
        fill_buffer();
    }
    must_tally(&tally);
}

CHECK(limit, "E-39/limit", NEEDS_L2, OPERANDS,
      "A memory operand of each VMX instruction may end at the limit of its segment, and causes #GP(0) beyond it")
{
    each_operand(READ_WRITE, true);
}

CHECK(expand_down, "E-39/expand-down", NEEDS_L2, OPERANDS,
      "A memory operand of each VMX instruction in an expand-down segment lies above its limit, or causes #GP(0)")
{
    each_operand(EXPAND_DOWN, true);
}

CHECK(read_only, "E-39/read-only", NEEDS_L2, OPERANDS,
      "VMPTRST and VMREAD to a segment that is not writable cause #GP(0), and instructions that read it execute")
{
    each_operand(READ_ONLY, false);
}

CHECK(readable_code, "E-39/readable-code", NEEDS_L2, OPERANDS,
      "VMPTRST and VMREAD to a readable code segment cause #GP(0), and instructions that read it execute")
{
    each_operand(READABLE_CODE, false);
}

/* An operand in SS, whose base stays 0 for the sake of L1's stack. */
void try_in_ss(u32 argument);
void try_null(u32 argument);
void try_indexed(u32 argument);
void try_16_bit(u32 argument);
extern const char in_ss_instruction[], null_instruction[];
asm(".pushsection .text\n"
    "try_in_ss:\n"
    "    movl 4(%esp), %ecx\n"
    "    movl $0x20, %eax\n"
    "    movl %eax, %ss\n"
    "    xorl %eax, %eax\n"
    "in_ss_instruction: vmptrst %ss:(%ecx)\n"
    "    movl $0x10, %eax\n"
    "    movl %eax, %ss\n"
    "    ret\n"
    "try_null:\n"
    "    movl 4(%esp), %ecx\n"
    "    xorl %eax, %eax\n"
    "    movl %eax, %fs\n"
    "null_instruction: vmptrst %fs:(%ecx)\n"
    "    ret\n"
    "try_indexed:\n"
    "    movl 4(%esp), %ecx\n"
    "    movl $3, %eax\n"
    "    vmptrst 16(%ecx, %eax, 8)\n" /* 40 bytes on */
    "    vmptrst -8(%ecx, %eax, 4)\n" /* 4 bytes on */
    "    ret\n"
    "try_16_bit:\n"
    "    pushl %ebx\n"
    "    pushl %esi\n"
    "    movl $0x20, %eax\n"
    "    movl %eax, %fs\n"
    "    movl $0x5678FFF8, %ebx\n"
    "    movl $0x12340118, %esi\n" /* FFF8H + 118H is 110H in 16 bits */
    "    addr16 vmptrst %fs:(%bx, %si)\n"
    "    popl %esi\n"
    "    popl %ebx\n"
    "    ret\n"
    ".popsection\n");

CHECK(stack, "E-39/stack-segment", NEEDS_L2, OPERANDS,
      "A memory operand of VMPTRST in SS may end at the limit of SS, and causes #SS(0) beyond it")
{
    enum { LAST_PAGE = 0x7FF, END = (LAST_PAGE + 1) << 12 };
    entry_prepare();
    gdt_write(SELECTOR_SPARE, 0x00C0930000000000 | LAST_PAGE);
    struct trap good = trap_in(try_in_ss, END - 8), bad = trap_in(try_in_ss, END - 7);
    asm volatile("movl %0, %%ss" : : "r"(SELECTOR_DATA));
    must("fault_at_limit", good.taken, false);
    must_fault(bad, VECTOR_SS, 0, in_ss_instruction);
}

CHECK(null, "E-39/null-segment", NEEDS_L2, OPERANDS, "A memory operand of VMPTRST in a null segment causes #GP(0)")
{
    entry_prepare();
    struct trap trap = trap_in(try_null, address_of(buffer));
    reset_fs();
    must_fault(trap, VECTOR_GP, 0, null_instruction);
}

static u64 stored_at(u32 offset)
{
    u64 value = 0;
    for (u32 byte = 0; byte < sizeof value; byte++)
        value |= (u64)buffer[offset + byte] << 8 * byte;
    return value;
}

static void empty_buffer(void)
{
    for (u32 offset = 0; offset < PAGE_SIZE; offset++)
        buffer[offset] = 0;
}

CHECK(indexed, "E-39/base-index-displacement", NEEDS_L2, OPERANDS,
      "VMPTRST stores at base plus scaled index plus displacement, which is signed")
{
    entry_prepare();
    empty_buffer();
    struct trap trap = trap_in(try_indexed, address_of(buffer) + BEFORE);
    must("first", stored_at(BEFORE + 40), vmx_regions().vmcs);
    must("second", stored_at(BEFORE + 4), vmx_regions().vmcs);
    must("before", stored_at(BEFORE - 8), 0);
    must_not_fault(trap);
}

CHECK(sixteen, "E-39/16-bit-address", NEEDS_L2, OPERANDS,
      "VMPTRST with a 16-bit address stores at the segment base plus an effective address modulo 64 KiB")
{
    entry_prepare();
    empty_buffer();
    describe(address_of(buffer), 0xFFFF, READ_WRITE);
    u32 came_to = outcome(trap_in(try_16_bit, 0));
    must("fault", came_to, 0);
    must("stored", stored_at(0x110), vmx_regions().vmcs);
}

/* In 64-bit mode. */
extern const char rax_operand[], rbp_operand[], fs_operand[], size_of_vmread[];
asm(".pushsection .text\n"
    ".code64\n"
    "rax_operand: vmptrst (%rax)\n ret\n"
    "rbp_operand: push %rbp\n mov %rax, %rbp\n vmptrst (%rbp)\n pop %rbp\n ret\n"
    "fs_operand:  vmptrst %fs:(%rax)\n ret\n"
    "size_of_vmread: movl $0x681E, %edx\n vmread %rdx, (%rax)\n ret\n"
    ".code32\n"
    ".popsection\n");

CHECK(canonical, "E-39/canonical", NEEDS_L2, "VMPTRST: 64-Bit Mode Exceptions (Vol. 3, 31.3)",
      "VMPTRST in 64-bit mode causes #GP(0) at an address that is not canonical, and #SS(0) where that is in SS")
{
    entry_prepare();
    l1_in_64_bit_mode();
    u32 general = outcome(trap_in_64(rax_operand, (u64)1 << 63));
    u32 stack = outcome(trap_in_64(rbp_operand, (u64)1 << 63));
    u32 plain = outcome(trap_in_64(rax_operand, address_of(buffer)));
    must("general", general, VECTOR_GP);
    must("stack", stack, VECTOR_SS);
    must("plain", plain, 0);
}

CHECK(fs_base, "E-39/fs-base", NEEDS_L2, "Segmentation in 64-Bit Mode (Vol. 3, 3.2.4)",
      "VMPTRST in 64-bit mode stores at the base of FS plus the effective address")
{
    entry_prepare();
    empty_buffer();
    l1_in_64_bit_mode();
    write_msr(MSR_FS_BASE, address_of(buffer));
    u32 came_to = outcome(trap_in_64(fs_operand, BEFORE)); /* which loads FS, and its base */
    u64 stored = stored_at(BEFORE);
    must("fault", came_to, 0);
    must("stored", stored, vmx_regions().vmcs);
}

CHECK(size, "E-39/vmread-size", NEEDS_L2, "VMREAD (Vol. 3, 31.3)",
      "VMREAD to memory stores 8 bytes in 64-bit mode and 4 in protected mode")
{
    entry_prepare();
    fill_buffer();
    describe(address_of(buffer), 0xFFFF, READ_WRITE);
    for (u32 offset = 0; offset < 16; offset++)
        buffer[offset] = 0xFF;
    outcome(trap_in(try_vmread, 0));
    must("in_protected_mode", stored_at(0), (u64)0xFFFFFFFF << 32 | vmcs_read(GUEST_RIP));
    l1_in_64_bit_mode();
    for (u32 offset = 0; offset < 16; offset++)
        buffer[offset] = 0xFF;
    outcome(trap_in_64(size_of_vmread, address_of(buffer)));
    must("in_64_bit_mode", stored_at(0), vmcs_read(GUEST_RIP));
    must("after_it", stored_at(8), ~(u64)0);
}
