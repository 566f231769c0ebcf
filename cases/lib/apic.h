/* The local APIC in xAPIC mode, and the I/O APIC's pin of the timer. IA32_APIC_BASE is left alone. */
#pragma once

#include "types.h"

enum { LOCAL_APIC = 0xFEE00000, IO_APIC = 0xFEC00000 };
enum { APIC_VERSION = 0x30, APIC_TPR = 0x80 };

/* Enabled by software, with the 8259's interrupts let through (ExtINT at LINT0). */
void apic_start(void);
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);

/* An interprocessor interrupt to this CPU itself (SDM, "Interrupt Command Register (ICR)"). */
void apic_send_nmi(void);
void apic_send(u8 vector);

/* Tell the local APIC that an interrupt has been handled, if it has `vector` in service. */
void apic_end(u8 vector);
void apic_end_all(void); /* the same of all that it has in service, as of interrupts that L2 took */

/* Counter 0 of the PC's timer is pin 2: an NMI to this CPU while `on`, else masked. */
void io_apic_timer_as_nmi(bool on);
