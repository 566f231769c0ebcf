#include "port_devices.h"

#include "cpu.h"
#include "outcome.h"

enum { KEYBOARD_FULL = 1, KEYBOARD_BUSY = 2, READ_COMMAND_BYTE = 0x20 };
enum { PIT_CONTROL = 0x43, COUNTER_2_HIGH_BYTE_MODE_0 = 0xA0, LATCH_STATUS_OF_2 = 0xE8 };
enum {
    DISK_DRIVE = 0x1F6,
    DISK_COMMAND = 0x1F7,
    DISK_CONTROL = 0x3F6,
    NO_INTERRUPTS = 2,
    FIRST_DISK = 0xA0,
    IDENTIFY = 0xEC,
    DISK_REQUEST = 0x08,
    DISK_BUSY = 0x80,
};
enum { PATIENCE = 1000000 };

static bool wait(u16 port, u8 mask, u8 value)
{
    for (u32 looks = 0; looks < PATIENCE; looks++)
        if ((in8(port) & mask) == value)
            return true;
    return false;
}

bool keyboard_full(void)
{
    return in8(KEYBOARD_STATUS) & KEYBOARD_FULL;
}

void keyboard_ask(void)
{
    while (keyboard_full())
        in8(KEYBOARD_DATA);
    if (!wait(KEYBOARD_STATUS, KEYBOARD_BUSY, 0))
        give_up("the keyboard controller takes no command");
    out8(KEYBOARD_STATUS, READ_COMMAND_BYTE);
    if (!wait(KEYBOARD_STATUS, KEYBOARD_FULL, KEYBOARD_FULL))
        give_up("the keyboard controller gives no answer");
}

u8 keyboard_answer(void)
{
    keyboard_ask();
    return in8(KEYBOARD_DATA);
}

void pit_latch_status(void)
{
    out8(PIT_CONTROL, COUNTER_2_HIGH_BYTE_MODE_0);
    out8(PIT_COUNTER, 0xFF);
    out8(PIT_CONTROL, LATCH_STATUS_OF_2);
}

static void read_what_is_left(void)
{
    u32 count = DISK_WORDS;
    u16 word;
    while (count-- && disk_wants())
        asm volatile("inw %%dx, %%ax" : "=a"(word) : "d"(DISK_DATA));
}

void disk_ask(void)
{
    out8(DISK_CONTROL, NO_INTERRUPTS);
    out8(DISK_DRIVE, FIRST_DISK);
    if (!wait(DISK_COMMAND, DISK_BUSY, 0))
        skip("no IDE disk");
    read_what_is_left(); /* of an earlier command: a disk takes none while it has data */
    out8(DISK_COMMAND, IDENTIFY);
    if (!wait(DISK_COMMAND, DISK_BUSY | DISK_REQUEST, DISK_REQUEST))
        skip("no IDE disk");
}

bool disk_wants(void)
{
    return in8(DISK_COMMAND) & DISK_REQUEST;
}

const u16 *disk_answer(void)
{
    static u16 words[DISK_WORDS];
    u16 *to = words;
    u32 count = DISK_WORDS;
    disk_ask();
    asm volatile("rep insw" : "+D"(to), "+c"(count) : "d"(DISK_DATA) : "memory");
    return words;
}
