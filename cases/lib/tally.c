#include "tally.h"

#include "record.h"

void tally_turn(struct tally *tally, u64 turn, u64 value, u64 required)
{
    tally->turns++;
    if (value == required)
        return;
    if (!tally->wrong++) {
        saw("first_wrong_turn", turn);
        must("first_wrong", value, required);
    }
}

void must_tally(const struct tally *tally)
{
    if (!tally->turns)
        problem("a tally without a turn");
    noted("turns", tally->turns); /* may depend on what the CPU has */
    must("wrong_turns", tally->wrong, 0);
}
