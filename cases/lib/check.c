#include "check.h"

#include "capabilities.h"
#include "console.h"
#include "cpu.h"
#include "paging.h"
#include "ram_log.h"
#include "vmx.h"

enum { MOST_FIELDS = 48, MOST_CHECKS = 512 };

static const char *const verdict_words[] = { "", "PASS", "FAIL", "OPEN", "SKIP" };
static const char SEEN[] = "", REQUIRED[] = "must.", FREE[] = "free.";

struct field {
    const char *kind, *name;
    u64 value;
};

static struct {
    const struct check *check;
    bool failed, open;
    const char *wrong, *lacking; /* reasons, the first one given; `lacking` means SKIP */
    struct field fields[MOST_FIELDS];
    unsigned count;
} record;

static enum verdict verdicts[MOST_CHECKS];
static unsigned reported, skipped;
static const char *last_skip;

extern const struct check checks_begin[], checks_end[];
extern const char kit_checks[]; /* an address that is the number of checks: kit.ld */

/* The tester finds this block by its first 16 bytes, clears the bits of the checks that are not to run, and asks for the RAM
   log. */
__attribute__((section(".params"), used)) static volatile struct {
    char magic[16];
    u32 version;
    const char *count;
    u8 selected[MOST_CHECKS / 8];
    u32 in_ram;
    const struct ram_log *log;
    u32 log_bytes;
} params = { "DIFFTEST-PARAMS", 2, kit_checks, { [0 ... MOST_CHECKS / 8 - 1] = 0xFF }, false, &ram_log, RAM_LOG_BYTES };

static bool equal(const char *one, const char *other)
{
    while (*one && *one == *other) {
        one++;
        other++;
    }
    return *one == *other;
}

void wrong(const char *reason)
{
    record.failed = true;
    if (!record.wrong)
        record.wrong = reason;
}

static const struct field *find(const char *kind, const char *name)
{
    for (unsigned index = 0; index < record.count; index++)
        if (record.fields[index].kind == kind && equal(record.fields[index].name, name))
            return &record.fields[index];
    return NULL;
}

static void add(const char *kind, const char *name, u64 value)
{
    const struct field *earlier = find(kind, name);
    if (earlier && earlier->value != value)
        wrong("the check says a field twice, with two values");
    else if (!earlier && record.count == MOST_FIELDS)
        wrong("the check has more fields than a record holds");
    else if (!earlier)
        record.fields[record.count++] = (struct field){ kind, name, value };
}

void saw(const char *field, u64 value)
{
    add(SEEN, field, value);
}

void must(const char *field, u64 value, u64 required)
{
    add(SEEN, field, value);
    add(REQUIRED, field, required);
    if (value != required)
        record.failed = true;
}

void noted(const char *field, u64 value)
{
    add(FREE, field, value);
}

bool said(const char *field)
{
    return find(SEEN, field);
}

void leave_open(void)
{
    record.open = true;
}

void skip(const char *reason)
{
    if (!record.lacking)
        record.lacking = reason;
}

/* The one place where a verdict is made. A requirement that was broken is never covered up by what came after it. */
static enum verdict verdict_of_record(void)
{
    return record.failed ? FAIL : record.lacking ? SKIP : record.open ? OPEN : PASS;
}

static void report(void)
{
    enum verdict verdict = verdict_of_record();
    const char *reason = verdict == SKIP ? record.lacking : record.wrong;
    say("difftest 1 check %s %s", record.check->id, verdict_words[verdict]);
    if (reason)
        say(" reason=\"%s\"", reason);
    for (unsigned index = 0; index < record.count; index++)
        say(" %s%s=%#llx", record.fields[index].kind, record.fields[index].name, record.fields[index].value);
    say("\n");
    verdicts[record.check - checks_begin] = verdict;
    reported++;
    if (verdict == SKIP) {
        skipped++;
        last_skip = reason;
    }
    record.check = NULL;
}

enum verdict verdict_of(const char *id)
{
    for (const struct check *check = checks_begin; check < checks_end; check++)
        if (equal(check->id, id))
            return verdicts[check - checks_begin];
    return NOT_RUN;
}

const char *all_skipped(void)
{
    return reported && reported == skipped ? last_skip : NULL;
}

static __attribute__((noreturn)) void finish(struct condition condition)
{
    say("difftest 1 end checks=%u\n", reported);
    console_aloud();
    say("Halt: condition '%s%s' met, line %u, file %s\n", condition.words, condition.detail, condition.line, condition.file);
    halt_for_good();
}

void give_up(const char *reason)
{
    if (record.check) {
        wrong(reason);
        report();
    }
    show(23, 0, "????");
    finish(CONDITION(reason));
}

void give_up_on_trap(const struct trap *trap)
{
    if (record.check) {
        saw("unexpected_vector", trap->vector);
        saw("unexpected_error_code", trap->error_code);
        noted("unexpected_eip", trap->eip);
        noted("unexpected_cr2", trap->cr2);
    }
    give_up("unexpected exception in L1");
}

__attribute__((weak)) struct condition case_end(void)
{
    if (!reported)
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

static void run(const struct check *check)
{
    record.check = check;
    record.failed = record.open = false;
    record.wrong = NULL;
    record.count = 0;
    say("difftest 1 start %s\n", check->id);
    record.lacking = lacking(check->needs);
    if (!record.lacking)
        check->body();
    report();
}

/* A sign of life on COM1 comes behind the first check and then behind each of this many: it costs two VM exits under KVM. */
enum { CHECKS_A_DOT = 16 };

void kit_main(void)
{
    u32 done = 0;
    console_start(params.in_ram);
    trap_start();
    paging_start();
    say("difftest 1 case=" CASE_NAME "\n");
    say_capabilities();
    for (const struct check *check = checks_begin; check < checks_end; check++) {
        u32 index = (u32)(check - checks_begin);
        if (!(params.selected[index / 8] >> index % 8 & 1))
            continue;
        run(check);
        if (done++ % CHECKS_A_DOT == 0)
            console_dot();
    }
    finish(case_end());
}
