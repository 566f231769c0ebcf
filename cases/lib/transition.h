/* One vector run in L1: from no paging to the vector's state, its instruction there, and back, whatever it did.

       transition_start();
       transition_run(&vector, &outcome);
       transition_end();
*/
#pragma once

#include "types.h"
#include "vector.h"

/* What came of a vector, comparable between any two machines. */
enum { OUTCOME_WORDS = 8 };
enum {
    OUTCOME_STATUS, /* 0, or OUTCOME_TAKEN, the exception's vector << 16, its error code */
    OUTCOME_EIP,    /* where the exception was, counted from the instruction */
    OUTCOME_CR0,
    OUTCOME_CR4,
    OUTCOME_EFER,
    OUTCOME_CR3,    /* counted from the tables */
    OUTCOME_PROBES, /* 16 bits for each PDPTE: what it translates to, where PAE paging is on and the vector asks */
    OUTCOME_HIGH,   /* bits 63:32 of CR0 and of CR4 */
};
#define OUTCOME_TAKEN (1u << 31)
enum { PROBE_NONE, PROBE_FIRST_TABLE, PROBE_OTHER_TABLE, PROBE_ELSEWHERE, PROBE_FAULT = 0x8000 };

struct vector_outcome {
    u64 words[OUTCOME_WORDS];
};

/* NULL, or why this CPU cannot run vectors. */
const char *transition_lacking(void);

void transition_start(void);
void transition_run(const struct vector *vector, u32 family, struct vector_outcome *outcome);
void transition_end(void);

/* What this CPU supports, as CPUID has it; nothing excluded. */
struct vector_facts transition_facts(void);
