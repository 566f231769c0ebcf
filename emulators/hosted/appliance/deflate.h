/* Deflate (RFC 1951) in its fixed code, and for speed: of the places where four bytes stood before, the last one is tried. */
#pragma once

#include "freestanding.h"

enum { WINDOW = 32768, LONGEST = 258, SHORTEST = 4, HASH_BITS = 12 };

static u8 *bits_to;
static u64 bits, bits_count;

static void put_bits(u64 value, u64 count)
{
    bits |= value << bits_count;
    bits_count += count;
    while (bits_count >= 8) {
        *bits_to++ = (u8)bits;
        bits >>= 8;
        bits_count -= 8;
    }
}

static void put_code(u64 code, u64 count) /* Huffman codes go highest bit first */
{
    u64 turned = 0;
    for (u64 i = 0; i < count; i++)
        turned |= (code >> i & 1) << (count - 1 - i);
    put_bits(turned, count);
}

/* A literal byte, the end (256) or a class of lengths, in deflate's fixed code. */
static void put_symbol(u64 symbol)
{
    if (symbol < 144)
        put_code(0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(symbol - 256, 7);
    else
        put_code(0xC0 + symbol - 280, 8);
}

static u64 highest_bit(u64 value)
{
    return 63 - (u64)__builtin_clzl(value);
}

static void put_match(u64 count, u64 distance)
{
    u64 rest = count - 3, extra = rest < 8 ? 0 : highest_bit(rest) - 2;
    if (count == LONGEST)
        put_symbol(285);
    else {
        put_symbol(257 + 4 * extra + (rest >> extra));
        put_bits(rest & ((1ul << extra) - 1), extra);
    }
    rest = distance - 1, extra = rest < 4 ? 0 : highest_bit(rest) - 1;
    put_code(2 * extra + (rest >> extra), 5);
    put_bits(rest & ((1ul << extra) - 1), extra);
}

static u32 word(const u8 *at)
{
    return *(const u32 *)at;
}

/* How many bytes are the same at both places, before `end`. */
static u64 same(const u8 *old, const u8 *new, const u8 *end)
{
    const u8 *start = new;
    for (; new + 8 <= end; old += 8, new += 8) {
        u64 differs = *(const u64 *)old ^ *(const u64 *)new;
        if (differs)
            return (u64)(new - start) + (u64)__builtin_ctzl(differs) / 8;
    }
    while (new < end && *old == *new)
        old++, new ++;
    return (u64)(new - start);
}

static void deflate(const u8 *start, const u8 *end)
{
    static u32 last[1 << HASH_BITS]; /* where four such bytes stood last, counted from 1 */
    const u8 *at = start;
    put_bits(3, 3); /* the last block, in the fixed code */
    while (at + SHORTEST <= end) {
        u32 *place = &last[word(at) * 2654435761u >> (32 - HASH_BITS)];
        const u8 *old = start + *place - 1;
        int seen = *place && at - old <= WINDOW && word(old) == word(at);
        *place = (u32)(at - start) + 1;
        if (!seen) {
            put_symbol(*at++);
            continue;
        }
        u64 left = same(old, at, end), distance = (u64)(at - old);
        at += left;
        for (; left >= SHORTEST; left -= left > LONGEST ? LONGEST : left) /* a rest too short for a match is left to come again */
            put_match(left > LONGEST ? LONGEST : left, distance);
        at -= left;
    }
    while (at < end)
        put_symbol(*at++);
    put_symbol(256);
    put_bits(0, -bits_count & 7);
}
