#include "outcome.h"

#include "console.h"
#include "cpu.h"
#include "params.h"

__attribute__((noreturn)) void halt_for_good(void); /* in halt.S */

static enum verdict verdicts[MOST_CHECKS];
static u32 reported, skipped;
static const char *last_skip;

void outcome_report(void)
{
    struct report report = record_report();
    verdicts[report.number] = report.verdict;
    reported++;
    if (report.verdict == SKIP) {
        skipped++;
        last_skip = report.reason;
    }
}

enum verdict outcome_of(u32 number)
{
    return verdicts[number];
}

u32 outcome_count(void)
{
    return reported;
}

const char *all_skipped(void)
{
    return reported && reported == skipped ? last_skip : NULL;
}

void finish(struct condition condition)
{
    say("difftest 1 end checks=%u\n", reported);
    console_aloud();
    say("Halt: condition '%s%s' met, line %u, file %s\n", condition.words, condition.detail, condition.line,
        condition.file);
    halt_for_good();
}

static __attribute__((noreturn)) void end_at_once(const char *words)
{
    if (record_running())
        outcome_report();
    show(23, 0, "????");
    finish(CONDITION(words));
}

void give_up(const char *reason)
{
    if (record_running())
        wrong(reason);
    end_at_once(reason);
}

void misused(const char *words)
{
    problem(words);
    end_at_once(words);
}
