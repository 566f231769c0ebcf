#include "sweep.h"

#include "long.h"

u32 efer_high;

asm(".pushsection .text\n"
    ".code64\n"
    "mov_to_cr0_64: mov %rax, %cr0\n"
    "               ret\n"
    "mov_to_cr4_64: mov %rax, %cr4\n"
    "               ret\n"
    ".code32\n"
    ".globl write_efer, write_efer_instruction\n"
    "write_efer:    movl 4(%esp), %eax\n"
    "               movl efer_high, %edx\n"
    "               movl $0xC0000080, %ecx\n"
    "write_efer_instruction: wrmsr\n"
    "               ret\n"
    ".globl mov_to_cr0_64, mov_to_cr4_64\n"
    ".popsection\n");

bool is_gp(struct trap trap, const char *instruction)
{
    return trap.taken && trap.vector == VECTOR_GP && trap.error_code == 0 && trap.eip == address_of(instruction);
}

u32 faulting_bits(void (*body)(u32 value), const char *instruction, u32 base, u32 bits)
{
    u32 faulting = 0;
    for (u32 bit = 1; bit; bit <<= 1) {
        if (!(bits & bit))
            continue;
        if (is_gp(trap_in(body, base ^ bit), instruction))
            faulting |= bit;
        else
            trap_in(body, base);
    }
    return faulting;
}

u64 faulting_bits_64(const char *body, u64 base, u64 bits)
{
    u64 faulting = 0;
    for (u64 bit = 1; bit; bit <<= 1) {
        if (!(bits & bit))
            continue;
        if (is_gp(trap_in_64(body, base ^ bit), body))
            faulting |= bit;
        else
            trap_in_64(body, base);
    }
    return faulting;
}
