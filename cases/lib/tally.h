/* One behaviour tried in many turns, such as with each bit of a field, and judged in one record: how many turns there
   were, how many went wrong, and in full the first of these. */
#pragma once

#include "types.h"

struct tally {
    u32 turns, wrong;
};

/* `turn` names the turn, such as the value tried; `value` is what came of it, `required` what the SDM requires. */
void tally_turn(struct tally *tally, u64 turn, u64 value, u64 required);

/* Every turn must have gone right. A tally without a turn is a `problem`. */
void must_tally(const struct tally *tally);
