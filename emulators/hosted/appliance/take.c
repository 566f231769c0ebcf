/* Brings an image into a restored appliance: the second disk has become another one meanwhile, which Linux has no driver for.
 *
 *   take SECTORS FILE      writes the first sectors of the second disk over the start of a file
 */

#include "freestanding.h"

/* Ports of the first IDE channel, bits of its status, and what it is told (ATA/ATAPI-6, 28-bit addresses). */
enum { DATA = 0x1F0, COUNT = 0x1F2, ADDRESS = 0x1F3, DEVICE = 0x1F6, COMMAND = 0x1F7, CONTROL = 0x3F6 };
enum { BUSY = 0x80, REQUEST = 0x08, TROUBLE = 0x21 };
enum { SECOND_BY_ADDRESS = 0xF0, READ_SECTORS = 0x20, NO_INTERRUPTS = 2 };
enum { SECTOR = 512, AT_ONCE = 128, IOPERM = 173, WRITE_ONLY = 1 };

static inline void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static u8 settled_status(void)
{
    u8 status;
    for (int i = 0; i < 4; i++)
        in8(CONTROL); /* 400 ns, in which it may still be the one before */
    while ((status = in8(CONTROL)) & BUSY)
        ;
    return status;
}

static void read_sectors(u8 *to, u32 first, u32 count)
{
    out8(DEVICE, (u8)(SECOND_BY_ADDRESS | first >> 24));
    settled_status();
    out8(COUNT, (u8)count);
    for (int i = 0; i < 3; i++)
        out8((u16)(ADDRESS + i), (u8)(first >> 8 * i));
    out8(COMMAND, READ_SECTORS);
    for (; count; count--) {
        u8 status = settled_status();
        u64 words = SECTOR / 2;
        if (status & TROUBLE || !(status & REQUEST))
            fail("the second disk cannot be read");
        __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"((u16)DATA) : "memory");
    }
}

void begin(u64 *stack)
{
    const char *sectors = (const char *)stack[2], *path = (const char *)stack[3];
    u32 left = 0;
    for (; stack[0] == 3 && *sectors >= '0' && *sectors <= '9'; sectors++)
        left = left * 10 + (u32)(*sectors - '0');
    u64 file = left ? call(OPEN, (u64)path, WRITE_ONLY, 0, 0, 0) : 0;
    if (!left || failed(file))
        fail("no such file, or no number of sectors");
    if (failed(call(IOPERM, DATA, 8, 1, 0, 0)) || failed(call(IOPERM, CONTROL, 1, 1, 0, 0)))
        fail("no ports");
    u8 *data = room(AT_ONCE * SECTOR);
    out8(CONTROL, NO_INTERRUPTS);
    for (u32 done = 0, count; done < left; done += count) {
        count = left - done < AT_ONCE ? left - done : AT_ONCE;
        read_sectors(data, done, count);
        write_all(file, data, count * SECTOR);
    }
    call(EXIT, 0, 0, 0, 0, 0);
}
