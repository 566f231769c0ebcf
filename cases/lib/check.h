/* Checks: one behaviour each, judged against the SDM by the image itself, reported as one line.

       CHECK(not_present, "not-present", NEEDS_L2, "PDPTE Registers (Vol. 3, 4.4.1)", "MOV to CR0 ...")
       {
           ... set the stage, do the one thing ...
           must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
           saw("cr3", exit.cr3);
           noted("guest_linear_address", exit.guest_linear_address);
       }
*/
#pragma once

#include "outcome.h"
#include "record.h"
#include "trap.h"
#include "types.h"

/* NEEDS_PDPTE_REGISTERS: PAE paging on one of Intel's CPUs, which load the four PDPTEs at defined moments and translate
   with what they loaded. */
enum needs { NEEDS_NOTHING, NEEDS_L2, NEEDS_PAE, NEEDS_PDPTE_REGISTERS };

/* Explicit alignment: entries of several files must lie in the section without gaps. */
struct check {
    const char *id;
    enum needs needs;
    void (*body)(void);
} __attribute__((aligned(4)));
_Static_assert(sizeof(struct check) == 12, "kit.ld counts the checks by this size");

/* `ident` names the C function; the id, the SDM section and the summary are what users see. A summary is a sentence
   that can be understood alone, as in a bug report: it starts with a capital and has no full stop. The second array is
   for the tester, which reads it from the ELF file: it never reaches the disk. */
#define CHECK(ident, id, needs, sdm, summary)                                                                          \
    static void check_##ident(void);                                                                                   \
    __attribute__((section(".difftest.checks"), used)) static const char about_##ident[] =                             \
        id "\x1f" sdm "\x1f" summary "\n";                                                                             \
    __attribute__((section(".checks"), used, aligned(4))) static const struct check entry_##ident = { id, needs,       \
                                                                                                      check_##ident }; \
    static void check_##ident(void)

/* Called when all selected checks have reported. A case may define its own, to put its verdict on the screen. */
struct condition case_end(void);

/* How a check of this image ended; NOT_RUN when it was not selected, or not reached. */
enum verdict verdict_of(const char *id);
