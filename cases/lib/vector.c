/* The generator of vectors. No division of 64 bits by anything but a power of two, no floating point: the image has
   neither. generate.py has the same steps in the same order. */
#include "vector.h"

struct base {
    u32 cr0, cr4, efer;
};
static const struct base bases[] = { VECTOR_BASES };

enum { CR0_CACHE_DISABLE = 30, CR0_NOT_WRITE_THROUGH = 29, CR0_PAGING = 31 };
enum { CR4_PAE_BIT = 5, CR4_PCIDE_BIT = 17 };
enum { WRITE_THROUGH_AND_CACHE_DISABLE = 0x18 };
enum { PDPTE_PRESENT = 1, PDPTE_OTHER_BITS = 0xFFE };
#define LOW_HALF 0xFFFFFFFFull

/* Words of random bits by number: SplitMix64 of a counter. */
struct source {
    u64 key;
};

static u64 word(const struct source *source, u32 number)
{
    u64 mixed = source->key + (number + 1) * 0x9E3779B97F4A7C15ull;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9ull;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBull;
    return mixed ^ mixed >> 31;
}

static u32 below(u64 word, u32 bound)
{
    return (u32)(word & 0xFFFF) % bound;
}

/* One of the bits of a mask; 0 when it has none. */
static u64 one_of(u64 mask, u64 word)
{
    u32 count = 0;
    for (u32 bit = 0; bit < 64; bit++)
        count += (u32)(mask >> bit) & 1;
    if (!count)
        return 0;
    u32 wanted = below(word, count);
    for (u32 bit = 0; bit < 64; bit++)
        if (mask >> bit & 1 && !wanted--)
            return (u64)1 << bit;
    return 0;
}

/* Bits on top of the base's: none, all, or some. */
static u64 dense(u64 choice, u64 word)
{
    return (choice & 3) == 0 ? 0 : (choice & 3) == 1 ? ~(u64)0 : word;
}

static void make_state(struct vector *vector, const struct source *source, const struct vector_facts *facts)
{
    const struct base *base = &bases[vector->base];
    bool long_mode = vector->base >= BASE_COMPATIBILITY_MODE;
    u64 choice = word(source, 1);
    u64 cr0 = base->cr0 | (dense(choice, word(source, 2)) & FREE_CR0);
    if (!(cr0 >> CR0_CACHE_DISABLE & 1))
        cr0 &= ~((u64)1 << CR0_NOT_WRITE_THROUGH);
    u64 cr4 = base->cr4 | (dense(choice >> 2, word(source, 3)) & FREE_CR4 & facts->cr4_supported);
    if (!long_mode)
        cr4 &= ~((u64)1 << CR4_PCIDE_BIT);
    vector->words[WORD_CR0] = cr0;
    vector->words[WORD_CR4] = cr4;
    vector->words[WORD_EFER] = base->efer | (dense(choice >> 4, word(source, 4)) & FREE_EFER & facts->efer_supported);
    bool low = (choice >> 6 & 3) == 0 && !(cr4 >> CR4_PCIDE_BIT & 1);
    vector->words[WORD_CR3_LOW] = low ? choice >> 8 & WRITE_THROUGH_AND_CACHE_DISABLE : 0;
}

/* Some bits of a mask to flip: 40 % one, 20 % two, 10 % three, 10 % none, 20 % any of those that have a name. */
static u64 flips(const struct source *source, u32 first, u64 universe, u64 defined)
{
    u32 mix = below(word(source, first), 100);
    if (mix >= 80)
        return word(source, first + 1) & defined;
    u32 count = mix < 40 ? 1 : mix < 60 ? 2 : mix < 70 ? 3 : 0;
    u64 flipped = 0;
    for (u32 turn = 0; turn < count; turn++)
        flipped |= one_of(universe, word(source, first + 2 + turn));
    return flipped;
}

static u64 current(const struct vector *vector)
{
    switch (vector->op) {
    case OP_MOV_CR4:
        return vector->words[WORD_CR4];
    case OP_WRMSR_EFER:
        return vector->words[WORD_EFER];
    case OP_MOV_CR3:
    case OP_CLTS:
        return 0;
    default:
        return vector->words[WORD_CR0];
    }
}

/* The instruction's operand: what the register has, with some bits flipped. */
static void make_operand(struct vector *vector, const struct source *source, const struct vector_facts *facts)
{
    u64 universe = below(word(source, 8), 16) < 12 ? LOW_HALF : ~(u64)0, defined = 0;
    if (vector->base != BASE_64_BIT_MODE && vector->op != OP_WRMSR_EFER)
        universe = LOW_HALF;
    switch (vector->op) {
    case OP_MOV_CR0:
        defined = DEFINED_CR0;
        break;
    case OP_MOV_CR4:
        universe &= ~facts->cr4_excluded;
        defined = DEFINED_CR4 & ~facts->cr4_excluded;
        break;
    case OP_WRMSR_EFER:
        universe &= ~facts->efer_excluded;
        defined = DEFINED_EFER & ~facts->efer_excluded;
        break;
    case OP_LMSW:
        universe = 0xFFFF;
        defined = 0xF;
        break;
    case OP_MOV_CR3:
        universe = defined = 0x1F;
        break;
    default:
        universe = 0;
    }
    u64 operand = current(vector) ^ flips(source, 9, universe, defined);
    vector->words[WORD_OPERAND] = vector->op == OP_LMSW ? operand & 0xFFFF : vector->op == OP_CLTS ? 0 : operand;
}

static void make_transition(struct vector *vector, const struct source *source, const struct vector_facts *facts)
{
    static const u8 ops[] = { OP_MOV_CR0, OP_MOV_CR4, OP_WRMSR_EFER, OP_MOV_CR0, OP_MOV_CR4, OP_LMSW, OP_CLTS };
    u64 choice = word(source, 0);
    vector->base = below(choice, ARRAY_SIZE(bases));
    vector->op = ops[below(choice >> 16, ARRAY_SIZE(ops))];
    make_state(vector, source, facts);
    make_operand(vector, source, facts);
}

static u64 pdpte_reserved_bits(const struct vector_facts *facts)
{
    return ~(((u64)1 << facts->physical_address_bits) - 1) | 0x1E6;
}

static void make_pdpte_load(struct vector *vector, const struct source *source, const struct vector_facts *facts)
{
    static const u8 chosen[] = { BASE_UNPAGED_PAE, BASE_32_BIT_PAGING, BASE_PAE_PAGING, BASE_PAE_PAGING,
                                 BASE_PAE_PAGING,  BASE_PAE_PAGING,    BASE_PAE_PAGING, BASE_PAE_PAGING };
    static const u8 ops[] = { OP_MOV_CR0, OP_MOV_CR0, OP_MOV_CR4, OP_MOV_CR4, OP_MOV_CR3, OP_LMSW, OP_CLTS,
                              OP_WRMSR_EFER };
    u64 choice = word(source, 0);
    vector->base = chosen[below(choice, ARRAY_SIZE(chosen))];
    vector->op = vector->base == BASE_UNPAGED_PAE   ? OP_MOV_CR0
               : vector->base == BASE_32_BIT_PAGING ? OP_MOV_CR4
                                                    : ops[below(choice >> 16, ARRAY_SIZE(ops))];
    make_state(vector, source, facts);
    make_operand(vector, source, facts);
    /* Of 32-bit and PAE paging the entry that maps the running code: see transition.c. */
    u32 pinned = vector->op == OP_MOV_CR4 ? 3 : 0;
    if (vector->base == BASE_UNPAGED_PAE)
        vector->words[WORD_OPERAND] |= (u64)1 << CR0_PAGING;
    if (vector->base == BASE_32_BIT_PAGING)
        vector->words[WORD_OPERAND] |= (u64)1 << CR4_PAE_BIT;
    u64 tables = word(source, 16);
    for (u32 entry = 0; entry < 4; entry++) {
        bool other = entry != pinned && tables >> entry & 1;
        vector->words[WORD_PDPTES + entry] = PDPTE_PRESENT | (other ? VECTOR_OTHER_TABLE : 0);
    }
    u32 edits = (u32)(tables >> 8) & 3;
    for (u32 edit = 0; edit < edits; edit++) {
        u64 place = word(source, 17 + edit);
        u32 entry = (u32)(place >> 32) & 3;
        u64 bits = pdpte_reserved_bits(facts) | PDPTE_OTHER_BITS;
        vector->words[WORD_PDPTES + entry] ^= one_of(entry == pinned ? bits : bits | PDPTE_PRESENT, place);
    }
}

bool vector_fits(const struct vector *vector, const struct vector_pattern *pattern)
{
    bool fits = vector->base == pattern->base && vector->op == pattern->op;
    for (u32 at = 0; at < VECTOR_WORDS; at++)
        fits &= !((vector->words[at] ^ pattern->value[at]) & pattern->mask[at]);
    return fits;
}

void vector_make(struct vector *vector, u32 family, u64 seed, u64 index, const struct vector_facts *facts)
{
    struct source source = { seed + (family + 1) * 0xD1B54A32D192ED03ull + index * 0xA24BAED4963EE407ull };
    *vector = (struct vector){ 0 };
    if (family == FAMILY_TRANSITIONS)
        make_transition(vector, &source, facts);
    else
        make_pdpte_load(vector, &source, facts);
}
