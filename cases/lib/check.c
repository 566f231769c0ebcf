#include "check.h"

#include "console.h"
#include "cpu.h"
#include "paging.h"
#include "trap.h"
#include "vmx.h"

enum { MOST_FIELDS = 40 };

enum status { PASS, FAIL, OPEN, SKIP };
static const char *const status_words[] = { "PASS", "FAIL", "OPEN", "SKIP" };

struct field {
    const char *prefix, *name;
    u64 value;
};

static struct {
    const struct check *check;
    enum status status;
    const char *reason;
    struct field fields[MOST_FIELDS];
    unsigned count;
} record;

static unsigned reported, skipped;
static const char *last_skip = "";

/* The tester finds this block by its first 16 bytes and clears the bits of the checks that are not to run. */
__attribute__((section(".params"), used)) static volatile struct {
    char magic[16];
    u32 version, reserved;
    u8 selected[64];
} params = { "DIFFTEST-PARAMS", 1, 0, { [0 ... 63] = 0xFF } };

extern const struct check checks_begin[], checks_end[];

static void add(const char *prefix, const char *name, u64 value)
{
    if (record.count < MOST_FIELDS)
        record.fields[record.count++] = (struct field){ prefix, name, value };
}

void saw(const char *field, u64 value)
{
    add("", field, value);
}

void must(const char *field, u64 value, u64 required)
{
    add("", field, value);
    add("must.", field, required);
    if (value != required)
        record.status = FAIL;
}

void noted(const char *field, u64 value)
{
    add("free.", field, value);
}

void wrong(const char *reason)
{
    record.status = FAIL;
    record.reason = reason;
}

void leave_open(void)
{
    record.status = OPEN;
}

void skip(const char *reason)
{
    record.status = SKIP;
    record.reason = reason;
}

bool all_skipped(void)
{
    return reported == skipped;
}

const char *skipped_because(void)
{
    return last_skip;
}

static void report(void)
{
    say("difftest 1 check %s %s", record.check->id, status_words[record.status]);
    if (record.reason)
        say(" reason=\"%s\"", record.reason);
    for (unsigned index = 0; index < record.count; index++)
        say(" %s%s=%X", record.fields[index].prefix, record.fields[index].name, record.fields[index].value);
    say("\n");
    reported++;
    if (record.status == SKIP) {
        skipped++;
        last_skip = record.reason;
    }
}

static __attribute__((noreturn)) void finish(struct condition condition)
{
    say("difftest 1 end checks=%d\n", reported);
    say("Halt: condition '%s' met, line %d, file %s\n", condition.words, condition.line, condition.file);
    halt_for_good();
}

void check_broken_by_trap(const struct trap *trap)
{
    if (record.check) {
        saw("vector", trap->vector);
        saw("error_code", trap->error_code);
        noted("eip", trap->eip);
        noted("cr2", trap->cr2);
        wrong("unexpected exception in L1");
        report();
    }
    show(23, 0, "????");
    finish(CONDITION("unexpected exception in L1"));
}

__attribute__((weak)) struct condition case_end(void)
{
    return CONDITION("all checks reported");
}

static void run(const struct check *check)
{
    record.check = check;
    record.status = PASS;
    record.reason = NULL;
    record.count = 0;
    say("difftest 1 start %s\n", check->id);
    const char *lacking = check->needs == NEEDS_L2 ? vmx_lacking() : NULL;
    if (lacking)
        skip(lacking);
    else
        check->body();
    report();
}

void kit_main(void)
{
    console_start();
    trap_start();
    paging_start();
    say("difftest 1 case=" CASE_NAME "\n");
    for (const struct check *check = checks_begin; check < checks_end; check++) {
        u32 index = (u32)(check - checks_begin);
        if (params.selected[index / 8] >> index % 8 & 1)
            run(check);
    }
    finish(case_end());
}
