/* Checks: one behaviour each, judged against the SDM by the image itself, reported as one line on COM1.

       CHECK(not_present, "not-present", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)", "MOV to CR0 ...")
       {
           ... set the stage, do the one thing ...
           must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
           saw("cr3", exit.cr3);
           noted("guest_linear_address", exit.guest_linear_address);
       }
*/
#pragma once

#include "trap.h"
#include "types.h"

/* PDPTE registers: PAE paging on one of Intel's CPUs, which load the four PDPTEs at defined moments and use what they loaded. */
enum needs { NEEDS_NOTHING, NEEDS_L2, NEEDS_PAE, NEEDS_PDPTE_REGISTERS };
enum verdict { NOT_RUN, PASS, FAIL, OPEN, SKIP };

/* Explicit alignment: entries of several files must lie in the section without gaps. */
struct check {
    const char *id;
    enum needs needs;
    void (*body)(void);
} __attribute__((aligned(4)));
_Static_assert(sizeof(struct check) == 12, "kit.ld counts the checks by this size");

/* `ident` names the C function; the id, the SDM section and the summary are what users see. The second array is for the
   tester, which reads it from the ELF file: it never reaches the disk. */
#define CHECK(ident, id, needs, sdm, summary)                                                                          \
    static void check_##ident(void);                                                                                   \
    __attribute__((section(".difftest.checks"), used)) static const char about_##ident[] =                             \
        id "\x1f" sdm "\x1f" summary "\n";                                                                             \
    __attribute__((section(".checks"), used, aligned(4))) static const struct check entry_##ident = { id, needs,       \
                                                                                                      check_##ident }; \
    static void check_##ident(void)

/* What a check says. A field said twice with one value counts once; with two values the check fails. */
void saw(const char *field, u64 value);                 /* a raw field: the two sides are compared in it */
void must(const char *field, u64 value, u64 required);  /* the same, and the SDM requires this value */
void noted(const char *field, u64 value);               /* recorded, never compared: undefined or volatile */
bool said(const char *field);                           /* whether the record has the field already */
void wrong(const char *reason);                         /* FAIL for a reason that no field shows */
void leave_open(void);                                  /* the SDM decides nothing here: OPEN instead of PASS */
void skip(const char *reason);                          /* this CPU lacks what the check needs */

/* End the image at once: the kit was used in a way that it cannot serve. The running check FAILs with the reason. */
__attribute__((noreturn)) void give_up(const char *reason);
__attribute__((noreturn)) void give_up_on_trap(const struct trap *trap);

/* The last word of an image: which condition ended it. `CONDITION` adds the place. */
struct condition {
    const char *words, *detail, *file;
    unsigned line;
};
#define CONDITION_OF(words, detail) ((struct condition){ words, detail, __FILE__, __LINE__ })
#define CONDITION(words) CONDITION_OF(words, "")

/* Asked when all selected checks have reported. A case may define its own, to put its verdict on the screen. */
struct condition case_end(void);

/* How a check ended; NOT_RUN when it was not selected, or not reached. */
enum verdict verdict_of(const char *id);

/* NULL, or why: every selected check was skipped (the last one's reason). */
const char *all_skipped(void);

void kit_main(void);
