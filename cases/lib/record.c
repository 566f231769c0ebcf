#include "record.h"

#include "console.h"
#include "cpu.h"
#include "text.h"

enum { MOST_FIELDS = 48 };

static const char *const verdict_words[] = { "", "PASS", "FAIL", "OPEN", "SKIP" };
static const char SEEN[] = "", REQUIRED[] = "must.", FREE[] = "free.";

struct field {
    const char *kind, *name;
    u64 value;
};

static struct {
    const char *id; /* NULL while no check is running */
    u32 number;
    bool required, failed, open, contradicts, faulty;
    const char *wrong, *lacking; /* reasons, the first one given; `lacking` means SKIP */
    struct field fields[MOST_FIELDS];
    unsigned count;
} record;

static void *skipped_to[5]; /* the buffer of __builtin_setjmp */

void problem(const char *words)
{
    if (record.faulty)
        return; /* one is enough */
    record.faulty = record.id;
    say("difftest 1 problem %s \"%s\"\n", record.id ? record.id : "-", words);
}

void wrong(const char *reason)
{
    record.failed = true;
    if (!record.wrong)
        record.wrong = reason;
}

static struct field *find(const char *kind, const char *name)
{
    for (unsigned index = 0; index < record.count; index++)
        if (record.fields[index].kind == kind && equal(record.fields[index].name, name))
            return &record.fields[index];
    return NULL;
}

static void add(const char *kind, const char *name, u64 value)
{
    struct field *earlier = find(kind, name);
    if (earlier && earlier->value != value)
        record.contradicts = true;
    else if (!earlier && record.count == MOST_FIELDS)
        problem("more fields than a record holds");
    else if (!earlier)
        record.fields[record.count++] = (struct field){ kind, name, value };
}

void saw(const char *field, u64 value)
{
    if (!find(FREE, field))
        add(SEEN, field, value);
}

void must(const char *field, u64 value, u64 required)
{
    bool again = find(REQUIRED, field);
    struct field *earlier = find(SEEN, field);
    record.required = true;
    if (value != required)
        record.failed = true;
    if (!again)
        add(SEEN, field, value);
    else if (earlier->value == required)
        earlier->value = value; /* of several values, as in a loop, one that breaks the requirement is shown */
    add(REQUIRED, field, required);
}

void noted(const char *field, u64 value)
{
    add(FREE, field, value);
}

bool said(const char *field)
{
    return find(SEEN, field);
}

void must_end_in(enum machine_end end)
{
    static const char *const words[] = { [END_SHUTDOWN] = "shutdown" };
    record.required = true;
    if (!record.failed) /* a requirement that is broken already must not be lost with the record */
        say("difftest 1 ends %s %s\n", record.id, words[end]);
    wrong("the machine did not end");
}

void leave_open(void)
{
    record.open = true;
}

void skip(const char *reason)
{
    record.lacking = reason;
    __builtin_longjmp(skipped_to, 1);
}

static void mark(u32 moment)
{
    cpuid_of(CHECK_MARK + record.number, moment);
}

void record_start(const char *id, u32 number)
{
    record.id = id;
    record.number = number;
    record.required = record.failed = record.open = record.contradicts = record.faulty = false;
    record.wrong = record.lacking = NULL;
    record.count = 0;
    say("difftest 1 start %s\n", id);
    mark(CHECK_STARTS);
}

__attribute__((noinline)) void record_run(void (*body)(void))
{
    if (!__builtin_setjmp(skipped_to))
        body();
}

bool record_running(void)
{
    return record.id;
}

/* The one place where a verdict is made. A requirement that was broken is never covered up by what came after it; one
   that was never stated is no PASS. */
static enum verdict verdict_of_record(void)
{
    /* An exit that is not the required one may well give a field a second value: that is no fault of the check. */
    if (record.contradicts && !record.failed)
        problem("a field has two values");
    if (record.faulty)
        return OPEN;
    if (record.failed)
        return FAIL;
    if (record.lacking)
        return SKIP;
    return record.open || !record.required ? OPEN : PASS;
}

struct report record_report(void)
{
    enum verdict verdict = verdict_of_record();
    const char *reason = verdict == SKIP ? record.lacking : record.wrong;
    mark(CHECK_ENDS);
    say("difftest 1 check %s %s", record.id, verdict_words[verdict]);
    if (reason)
        say(" reason=\"%s\"", reason);
    for (unsigned index = 0; index < record.count; index++)
        say(" %s%s=%#llx", record.fields[index].kind, record.fields[index].name, record.fields[index].value);
    say("\n");
    record.id = NULL;
    return (struct report){ record.number, verdict, reason };
}
