/* Interrupts and NMIs in L1, which runs with interrupts off.

       events_start();
       event_interrupt(0x40);       pending, as RFLAGS.IF is 0
       must_take_interrupt(0x40);   taken at once when IF is 1

   A check that needs them calls `events_start` after `l2_prepare`. `l2_prepare` and the end of a check call
   `events_end`, so that no pending event, and no blocking, gets from one check to the next. */
#pragma once

#include "types.h"

/* What L1's handlers have been called for since `events_start`. Each handler returns, which unblocks NMIs. */
struct events {
    u32 nmis, interrupts;
    u32 vector;  /* of the last interrupt */
    u32 nmi_eip; /* where the last NMI came in */
};

/* Interrupt controllers and handlers are ready, all lines are masked, and nothing is pending. */
void events_start(void);
void events_end(void);
struct events events_seen(void);

/* Raise one for this CPU, by its local APIC. A vector is 0x30 or more: lower ones belong to exceptions and the 8259. */
void event_nmi(void);
void event_interrupt(u8 vector);

/* The timer raises one later, after `ticks` of 1/1193182 s: an NMI, or an interrupt with vector PIC_VECTORS. */
void event_nmi_later(u32 ticks);
void event_interrupt_later(u32 ticks);

/* Interrupts are on for a few instructions: what is pending is taken. */
void events_let_in(void);

/* Whether NMIs are blocked in L1: one is raised, and its handler is called, or not. If not it stays pending, and the
   next `nmis_unblock` lets it in. */
bool nmis_are_blocked(void);
void nmis_unblock(void); /* by IRET */

/* The pending event must be delivered in L1 at once: this interrupt when IF becomes 1, or one NMI; or no event. */
void must_take_interrupt(u8 vector);
void must_take_nmi(void);
void must_take_nothing(void);
