#include "pic.h"

#include "cpu.h"

enum { FIRST = 0x20, SECOND = 0xA0, DATA = 1 };
enum { INITIALISE = 0x11, PC_MODE = 1, END_OF_INTERRUPT = 0x20, CASCADE = 2 };
enum { COUNTER_0 = 0x40, CONTROL = 0x43, ONCE = 0x30 };

static void start(u16 port, u8 vectors, u8 cascade)
{
    out8(port, INITIALISE);
    out8(port + DATA, vectors);
    out8(port + DATA, cascade);
    out8(port + DATA, PC_MODE);
    out8(port + DATA, 0xFF);
}

void pic_start(void)
{
    start(FIRST, PIC_VECTORS, 1 << CASCADE);
    start(SECOND, PIC_VECTORS + 8, CASCADE);
}

void pic_allow(u32 line)
{
    out8(FIRST + DATA, (u8)~(1u << line));
}

void pic_end(void)
{
    out8(FIRST, END_OF_INTERRUPT);
}

void pit_once(u32 ticks)
{
    out8(CONTROL, ONCE);
    out8(COUNTER_0, (u8)ticks);
    out8(COUNTER_0, (u8)(ticks >> 8));
}

void pit_stop(void)
{
    out8(CONTROL, ONCE);
}
