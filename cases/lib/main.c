/* The image's main loop: run the selected checks in the order of the source, then end. */
#include "capabilities.h"
#include "check.h"
#include "console.h"
#include "cpu.h"
#include "events.h"
#include "l1_mode.h"
#include "paging.h"
#include "params.h"
#include "text.h"
#include "vmx.h"

/* A sign of life on COM1 follows the first check and then each of this many: it costs two VM exits under KVM. */
enum { CHECKS_A_DOT = 16 };

extern const struct check checks_begin[], checks_end[];
void kit_main(void); /* called by boot.S */

static const struct check *current;

enum verdict verdict_of(const char *id)
{
    for (const struct check *check = checks_begin; check < checks_end; check++)
        if (equal(check->id, id))
            return outcome_of((u32)(check - checks_begin));
    return NOT_RUN;
}

__attribute__((weak)) struct condition case_end(void)
{
    if (!outcome_count())
        return CONDITION("no check was selected");
    if (all_skipped())
        return CONDITION_OF("skip: ", all_skipped());
    return CONDITION("all checks reported");
}

static const char *lacking(enum needs needs)
{
    switch (needs) {
    case NEEDS_L2:
        return vmx_lacking();
    case NEEDS_PAE:
        return pae_lacking();
    case NEEDS_PDPTE_REGISTERS:
        return pdpte_registers_lacking();
    case NEEDS_NOTHING:
        break;
    }
    return NULL;
}

static void run_current(void)
{
    const char *reason = lacking(current->needs);
    if (reason)
        skip(reason);
    current->body();
}

void kit_main(void)
{
    u32 done = 0;
    console_start(params_ask_for_ram_log());
    trap_start();
    paging_start();
    say("difftest 1 case=" CASE_NAME "\n");
    say_capabilities();
    u32 cr3 = read_cr3();
    for (current = checks_begin; current < checks_end; current++) {
        u32 number = (u32)(current - checks_begin);
        if (!params_select(number))
            continue;
        record_start(current->id, number);
        record_run(run_current);
        l1_home();
        events_end();
        if (read_cr3() != cr3)
            problem("the check left L1 in another mode");
        outcome_report();
        if (done++ % CHECKS_A_DOT == 0)
            console_dot();
    }
    finish(case_end());
}
