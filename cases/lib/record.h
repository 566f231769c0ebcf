/* The record of the running check: its fields, what the SDM requires of them, and the verdict. It becomes one line. */
#pragma once

#include "types.h"

enum verdict { NOT_RUN, PASS, FAIL, OPEN, SKIP };

/* A field has one value in a record: the same value again counts once. What a check has `noted` is not compared by a
   `saw` of the same name, such as those of `saw_exit`. */
void saw(const char *field, u64 value);                /* a raw field: the two sides are compared in it */
void must(const char *field, u64 value, u64 required); /* the same, and the SDM requires this value */
void noted(const char *field, u64 value);              /* recorded, never compared: undefined or volatile */
bool said(const char *field);                          /* whether the record has the field already */
void wrong(const char *reason);                        /* FAIL for a reason that no field shows */
void leave_open(void);                                 /* the SDM decides nothing here: OPEN instead of PASS */

/* What the check does next must end the machine: there is no record then, and the tester, which reads this line, boots
   the other checks after it. A check that comes to its end nevertheless has FAILed. */
enum machine_end { END_SHUTDOWN }; /* by a triple fault, or a VMX abort */
void must_end_in(enum machine_end end);

/* This CPU lacks what the check needs, and the check ends here. Not inside `trap_in`, and only while L1 is in the mode
   in which the check found it. */
__attribute__((noreturn)) void skip(const char *reason);

/* The check is wrong, or needs more than the kit has, so that its verdict would say nothing about the emulator. The
   tester reads the words and draws no conclusion from this boot. */
void problem(const char *words);

/* For the main loop. CPUID marks the start and the report of a check for a tracer below L1: EAX = CHECK_MARK + number,
   ECX = CHECK_STARTS or CHECK_ENDS. */
#define CHECK_MARK 0x44540000u
enum { CHECK_STARTS = 1, CHECK_ENDS = 2 };
void record_start(const char *id, u32 number);
void record_run(void (*body)(void)); /* returns when `body` does, or when it skips */
bool record_running(void);

/* Print the record's line and close it. */
struct report {
    u32 number;
    enum verdict verdict;
    const char *reason; /* or NULL */
};
struct report record_report(void);
