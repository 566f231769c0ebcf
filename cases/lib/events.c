#include "events.h"

#include "apic.h"
#include "cpu.h"
#include "outcome.h"
#include "pic.h"
#include "record.h"
#include "trap.h"

enum { GATES = 256, LOOKS = 64 };

extern const char event_entries[];
void event_taken(u32 vector, u32 eip); /* called by events_entry.S */

static struct events seen;
static bool started;

void event_taken(u32 vector, u32 eip)
{
    if (vector == VECTOR_NMI) {
        seen.nmis++;
        seen.nmi_eip = eip;
        return;
    }
    seen.interrupts++;
    seen.vector = vector;
    if (vector >= PIC_VECTORS && vector < PIC_VECTORS + 8)
        pic_end();
    else
        apic_end((u8)vector);
}

static u32 entry_of(u32 vector)
{
    return address_of(event_entries) + vector * EXCEPTION_ENTRY_BYTES;
}

void events_start(void)
{
    if (!started) {
        trap_by_entry(VECTOR_NMI, entry_of(VECTOR_NMI));
        for (u32 vector = EXCEPTIONS; vector < GATES; vector++)
            trap_by_entry(vector, entry_of(vector));
        apic_start();
    }
    started = true;
    pic_start();
    io_apic_timer_as_nmi(false);
    nmis_unblock();
    events_let_in();
    seen = (struct events){ 0 };
}

void events_end(void)
{
    nmis_unblock();
    if (!started)
        return;
    io_apic_timer_as_nmi(false);
    pic_start();
    apic_end_all();
    events_let_in();
    nmis_unblock();
    trap_by_entry(VECTOR_NMI, trap_entry(VECTOR_NMI));
    started = false;
}

struct events events_seen(void)
{
    return seen;
}

void event_nmi(void)
{
    apic_send_nmi();
}

void event_interrupt(u8 vector)
{
    apic_send(vector);
}

void event_nmi_later(u32 ticks)
{
    io_apic_timer_as_nmi(true);
    pit_once(ticks);
}

void event_interrupt_later(u32 ticks)
{
    pic_allow(PIC_TIMER);
    pit_once(ticks);
}

void events_let_in(void)
{
    asm volatile("sti\nnop\nnop\nnop\nnop\ncli" : : : "memory");
}

/* An NMI takes the time that the local APIC needs. */
static bool nmi_comes(u32 before)
{
    for (u32 looks = 0; looks < LOOKS; looks++) {
        asm volatile("pause" : : : "memory");
        if (*(volatile u32 *)&seen.nmis != before)
            return true;
    }
    return false;
}

bool nmis_are_blocked(void)
{
    u32 before = seen.nmis;
    event_nmi();
    return !nmi_comes(before);
}

void nmis_unblock(void)
{
    asm volatile("pushfl\npushl %%cs\npushl $1f\niret\n1:" : : : "memory", "cc");
}

void must_take_interrupt(u8 vector)
{
    u32 before = seen.interrupts;
    events_let_in();
    must("interrupts_taken", seen.interrupts - before, 1);
    must("interrupt_vector", seen.vector, vector);
}

void must_take_nmi(void)
{
    must("nmi_taken", seen.nmis || nmi_comes(0), true);
    must("nmis_taken", seen.nmis, 1);
}

void must_take_nothing(void)
{
    events_let_in();
    nmi_comes(seen.nmis);
    must("interrupts_taken", seen.interrupts, 0);
    must("nmis_taken", seen.nmis, 0);
}
