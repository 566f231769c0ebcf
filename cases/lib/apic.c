#include "apic.h"

enum {
    ID = 0x20,
    END = 0xB0,
    SPURIOUS = 0xF0,
    IN_SERVICE = 0x100,
    COMMAND_LOW = 0x300,
    COMMAND_HIGH = 0x310,
    LINT0 = 0x350,
};
enum { ENABLED = 0x100, SPURIOUS_VECTOR = 0xFF, EXTERNAL = 7 << 8, NMI = 4 << 8, ASSERT = 1 << 14, PENDING = 1 << 12 };
enum { IO_APIC_DATA = 0x10, REDIRECTION = 0x10, TIMER_PIN = 2, MASKED = 1 << 16 };

u32 apic_read(u32 reg)
{
    return *(volatile u32 *)(LOCAL_APIC + reg);
}

void apic_write(u32 reg, u32 value)
{
    *(volatile u32 *)(LOCAL_APIC + reg) = value;
}

void apic_start(void)
{
    apic_write(SPURIOUS, ENABLED | SPURIOUS_VECTOR);
    apic_write(LINT0, EXTERNAL);
    apic_write(APIC_TPR, 0);
}

static void send(u32 command)
{
    apic_write(COMMAND_HIGH, apic_read(ID));
    apic_write(COMMAND_LOW, command | ASSERT);
    while (apic_read(COMMAND_LOW) & PENDING)
        ;
}

void apic_send_nmi(void)
{
    send(NMI);
}

void apic_send(u8 vector)
{
    send(vector);
}

static u32 in_service(u32 word)
{
    return apic_read(IN_SERVICE + word * 0x10);
}

void apic_end(u8 vector)
{
    if (in_service(vector / 32) >> vector % 32 & 1)
        apic_write(END, 0);
}

void apic_end_all(void)
{
    for (u32 word = 1; word < 8; word++) /* vectors below 32 are no interrupts */
        while (in_service(word))
            apic_write(END, 0);
}

static void write_io_apic(u32 reg, u32 value)
{
    *(volatile u32 *)IO_APIC = reg;
    *(volatile u32 *)(IO_APIC + IO_APIC_DATA) = value;
}

void io_apic_timer_as_nmi(bool on)
{
    write_io_apic(REDIRECTION + 2 * TIMER_PIN + 1, apic_read(ID));
    write_io_apic(REDIRECTION + 2 * TIMER_PIN, on ? NMI : MASKED);
}
