/* Vectors of a sweep: a state that L1 is brought to, and one instruction in it. Which one a number stands for is
   decided here and in difftest/sweeping/generate.py alike, from the table that both share. */
#pragma once

#include "types.h"
#include "vector_table.h"

enum { VECTOR_WORDS = 9 };
enum { WORD_CR0, WORD_CR4, WORD_EFER, WORD_OPERAND, WORD_CR3_LOW, WORD_PDPTES };

/* `words`: vectors.toml has their names. Where a word is a PDPTE its address is 0 for the table that was loaded
   before, VECTOR_OTHER_TABLE for another one. */
struct vector {
    u32 base, op;
    u64 words[VECTOR_WORDS];
};
enum { VECTOR_OTHER_TABLE = 0x1000 };

/* What both sides of a comparison have in common: bits of CR4 and IA32_EFER that both support, and those that only one
   does, which vectors leave alone. */
struct vector_facts {
    u64 cr4_supported, cr4_excluded, efer_supported, efer_excluded;
    u64 physical_address_bits;
};

/* Vectors of a base state and an instruction whose words have these bits. */
struct vector_pattern {
    u32 base, op;
    u64 mask[VECTOR_WORDS], value[VECTOR_WORDS];
};
bool vector_fits(const struct vector *vector, const struct vector_pattern *pattern);

void vector_make(struct vector *vector, u32 family, u64 seed, u64 index, const struct vector_facts *facts);
