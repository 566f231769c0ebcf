#include "vector_check.h"

#include "record.h"

static void must_be(const char *name, u32 word, const struct vector_outcome *outcome,
                    const struct vector_outcome *required, const struct vector_outcome *open)
{
    must(name, outcome->words[word] & ~open->words[word], required->words[word] & ~open->words[word]);
}

void must_come_to(u32 family, const struct vector *vector, const struct vector_outcome *required,
                  const struct vector_outcome *open)
{
    static const char *const probes[] = { "pdpte_0_gives", "pdpte_1_gives", "pdpte_2_gives", "pdpte_3_gives" };
    struct vector_outcome outcome;
    if (transition_lacking())
        skip(transition_lacking());
    transition_start();
    transition_run(vector, family, &outcome);
    transition_end();
    u32 status = (u32)outcome.words[OUTCOME_STATUS], wanted = (u32)required->words[OUTCOME_STATUS];
    must("fault", status >> 31, wanted >> 31);
    if (status >> 31 || wanted >> 31) {
        must("vector", status >> 16 & 0xFF, wanted >> 16 & 0xFF);
        must("error_code", status & 0xFFFF, wanted & 0xFFFF);
        must_be("eip_offset", OUTCOME_EIP, &outcome, required, open);
    }
    must_be("cr0", OUTCOME_CR0, &outcome, required, open);
    must_be("cr4", OUTCOME_CR4, &outcome, required, open);
    must_be("ia32_efer", OUTCOME_EFER, &outcome, required, open);
    must_be("cr3_offset", OUTCOME_CR3, &outcome, required, open);
    must_be("high_halves", OUTCOME_HIGH, &outcome, required, open);
    for (u32 entry = 0; family == FAMILY_PDPTE_LOADS && entry < 4; entry++)
        must(probes[entry], outcome.words[OUTCOME_PROBES] >> 16 * entry & 0xFFFF,
             required->words[OUTCOME_PROBES] >> 16 * entry & 0xFFFF);
}
