/* The image of a sweep: vectors by their numbers, of which it leaves digests, or vectors that the tester put into it,
   of which it leaves the outcomes in full. Its parameters are found in the image by their first 16 bytes. */
#include "check.h"
#include "console.h"
#include "ram_log.h"
#include "transition.h"

enum { SWEEP_VERSION = 1, MOST_ASKED = 1024, MOST_SKIPPED = 8, BLOCK = 256, DOT = 4096 };
enum mode { MODE_FACTS, MODE_DIGESTS, MODE_OUTCOMES };

__attribute__((section(".data"), used)) static volatile struct {
    char magic[16];
    u32 version, mode, family, count;
    u64 seed, first;
    struct vector_facts facts;
    struct vector_pattern skipped[MOST_SKIPPED];
    u32 patterns, unused;
} parameters = { .magic = "DIFFTEST-SWEEP.", .version = SWEEP_VERSION };

static const struct vector asked[MOST_ASKED] __attribute__((section(".data.asked"))) = { { .base = ~0u } };

static u64 mixed(u64 sum, u64 word)
{
    sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
    return sum ^ sum >> 29;
}

static u64 digest(const struct vector_outcome *outcome)
{
    u64 sum = 0;
    for (u32 at = 0; at < OUTCOME_WORDS; at++)
        sum = mixed(sum, outcome->words[at]);
    return mixed(sum, 0);
}

static void sign_of_life(u32 done)
{
    if (done % DOT == 0)
        console_dot();
}

/* Whether the tester knows what such a vector comes to, and does not want it run. */
static bool is_skipped(const struct vector *vector)
{
    for (u32 at = 0; at < parameters.patterns && at < MOST_SKIPPED; at++) {
        struct vector_pattern pattern = parameters.skipped[at];
        if (vector_fits(vector, &pattern))
            return true;
    }
    return false;
}

static void run_digests(const struct vector_facts *facts)
{
    u64 block = 0;
    for (u32 at = 0; at < parameters.count; at++) {
        struct vector vector;
        struct vector_outcome outcome = { 0 };
        sign_of_life(at);
        vector_make(&vector, parameters.family, parameters.seed, parameters.first + at, facts);
        if (!is_skipped(&vector))
            transition_run(&vector, parameters.family, &outcome);
        u64 sum = digest(&outcome);
        u8 byte = (u8)(sum >> 56);
        ram_log_add((const char *)&byte, sizeof byte);
        block = mixed(block, sum);
        if (at % BLOCK == BLOCK - 1 || at == parameters.count - 1) {
            ram_log_add((const char *)&block, sizeof block);
            block = 0;
        }
    }
}

static void run_asked(void)
{
    const volatile struct vector *vectors = asked;
    for (u32 at = 0; at < parameters.count && at < MOST_ASKED; at++) {
        struct vector vector = vectors[at];
        struct vector_outcome outcome;
        sign_of_life(at);
        transition_run(&vector, parameters.family, &outcome);
        ram_log_add((const char *)&outcome, sizeof outcome);
    }
}

CHECK(sweep, "sweep", NEEDS_NOTHING, "Control Registers (Vol. 3, 2.5)", "The vectors of a sweep run")
{
    if (transition_lacking())
        skip(transition_lacking());
    struct vector_facts own = transition_facts(), facts = parameters.facts;
    say("sweep %u cr4=%#llx efer=%#llx bits=%u\n", SWEEP_VERSION, own.cr4_supported, own.efer_supported,
        (u32)own.physical_address_bits);
    transition_start();
    say("sweep data\n");
    if (parameters.mode == MODE_DIGESTS)
        run_digests(&facts);
    if (parameters.mode == MODE_OUTCOMES)
        run_asked();
    transition_end();
}
