/* Checks: one behaviour each, judged against the SDM by the image itself, reported as one line on COM1.

       CHECK(load, "not-present", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)", "MOV to CR0 ...")
       {
           ... set the stage, do the one thing ...
           must("exit_reason", exit.reason, 48);
           saw("cr3", exit.cr3);
           noted("guest_linear_address", exit.guest_linear_address);
       }
*/
#pragma once

#include "trap.h"
#include "types.h"

enum needs { NEEDS_NOTHING, NEEDS_L2 };

struct check {
    const char *id;
    enum needs needs;
    void (*body)(void);
};

/* `ident` names the C function; the id, the SDM section and the summary are what users see. The second array is for the
   tester, which reads it from the ELF file: it never reaches the disk. */
#define CHECK(ident, id, needs, sdm, summary)                                                                          \
    static void check_##ident(void);                                                                                   \
    __attribute__((section(".difftest.checks"), used)) static const char about_##ident[] =                             \
        id "\x1f" sdm "\x1f" summary "\n";                                                                             \
    __attribute__((section(".checks"), used)) static const struct check entry_##ident = { id, needs, check_##ident };  \
    static void check_##ident(void)

void saw(const char *field, u64 value);                 /* a raw field: the two sides are compared in it */
void must(const char *field, u64 value, u64 required);  /* the same, and the SDM requires this value */
void noted(const char *field, u64 value);               /* recorded, never compared: the SDM leaves it undefined */
void wrong(const char *reason);                         /* FAIL for a reason that no field shows */
void leave_open(void);                                  /* the SDM decides nothing here */
void skip(const char *reason);                          /* this CPU lacks what the check needs */

/* The last word of an image: which condition ended it. `CONDITION` adds the place. */
struct condition {
    const char *words, *file;
    unsigned line;
};
#define CONDITION(words) ((struct condition){ words, __FILE__, __LINE__ })

/* What the last check ended with; a case may give its own, to put its verdict on the screen. */
struct condition case_end(void);

/* True while every check so far was skipped; `skipped_because` is the reason of the last. */
bool all_skipped(void);
const char *skipped_because(void);

__attribute__((noreturn)) void check_broken_by_trap(const struct trap *trap);
void kit_main(void);
