/* L2 and the events around it. */
#pragma once

#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "events.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define BEFORE_EXIT "Architectural State Before a VM Exit (Vol. 3, 28.1)"
#define SAVING_STATE "Saving Non-Register State (Vol. 3, 28.3.4)"
#define AFTER_EXIT "Updating Non-Register State (Vol. 3, 28.5.5)"
#define INTERRUPTIBILITY "Interruptibility State (Vol. 3, 27.7.1)"
#define OTHER_EXITS "Other Causes of VM Exits (Vol. 3, 26.2)"
#define WINDOWS "Interrupt-Window Exiting and NMI-Window Exiting after VM Entry (Vol. 3, 27.7.5 and 27.7.6)"
#define QUALIFICATION "Exit Qualification for EPT Violations (Vol. 3, 28.2.1)"
#define TIMER "VMX-Preemption Timer (Vol. 3, 26.5.1)"

enum { RFLAGS_IF = 0x202, RFLAGS_NO_IF = 2 };
enum { ACTIVE, HALTED };
enum { BLOCKING_BY_STI = 1, BLOCKING_BY_MOV_SS = 2, BLOCKING_BY_NMI = 8 };
enum { VECTOR = 0x41 }; /* of an external interrupt */
#define INFORMATION_VALID (1u << 31)
#define NMI_INFORMATION (INFORMATION_VALID | 2 << 8 | VECTOR_NMI)

/* A prepared L2 with these pin-based and primary controls, HLT exiting not among them, and events under way in L1. */
void l2_with_events(const struct l2_code *code, u32 pin_based, u32 primary);

/* Let the preemption timer exit after about so many TSC ticks. */
void set_timer(u32 ticks);

/* After `l2_with_events`: NMIs become blocked in L1. L2 raises one, by the local APIC, and it exits; L2 is then as it
   was prepared. */
void block_nmis(void);

/* The exit must be for `reason`, `offset` bytes after the beginning of `code`; with this activity state saved. */
void must_exit_at(const struct vm_exit *exit, const struct l2_code *code, u32 reason, u32 offset);
void must_be_at(const struct vm_exit *exit, const struct l2_code *code, u32 reason, u32 offset, u32 activity);
