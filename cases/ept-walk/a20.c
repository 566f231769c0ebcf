/* W-26: A20M in VMX operation. */
#include "stage.h"

#include "cpu.h"

enum { LOW = 32 << 20, HIGH = 33 << 20, TABLES = LOW + (8 << 20) };

/* With A20 masked the CPU would lose whatever lies at addresses with bit 20 set, such as the kit's data: this code uses
   page tables and a word at addresses without it, and no stack. */
static u32 read_with_a20_masked(u32 tables, u32 address)
{
    u32 value = address;
    asm volatile("movl %%cr3, %%ecx\n"
                 "movl %1, %%cr3\n"
                 "inb $0x92, %%al\n"
                 "andb $0xFC, %%al\n"
                 "outb %%al, $0x92\n"
                 "movl (%0), %0\n"
                 "orb $2, %%al\n"
                 "outb %%al, $0x92\n"
                 "movl %%ecx, %%cr3\n"
                 : "+b"(value)
                 : "d"(tables)
                 : "eax", "ecx", "memory");
    return value;
}

CHECK(a20_blocked, "W-26/port-92", NEEDS_L2, "Restrictions on VMX Operation (Vol. 3, 24.8)",
      "A20M is blocked in VMX operation: a read with A20 masked through port 92h has bit 20 of its address")
{
    *(volatile u32 *)LOW = 0x1010;
    *(volatile u32 *)HIGH = 0x4141;
    identity_32_bit((u32 *)TABLES);
    must("word", read_with_a20_masked(TABLES, HIGH), 0x4141);
}
