/* Many exits judged in one record: a set of the turns that went right, and the first one that did not in full. */
#pragma once

#include "check.h"
#include "l2_code.h"

struct sweep {
    u32 right, wrong;
};

/* Turn number `turn`, 0 to 31, went right or not. */
static inline void sweep_turn(struct sweep *sweep, u32 turn, bool right, const struct vm_exit *exit,
                              const struct l2_code *code)
{
    if (right) {
        sweep->right |= 1u << turn;
        return;
    }
    if (!sweep->wrong) {
        saw("first_wrong", turn);
        saw_exit(exit, code->start);
    }
    sweep->wrong |= 1u << turn;
}

/* All these turns must have gone right. */
static inline void must_all(const struct sweep *sweep, u32 turns)
{
    must("right", sweep->right, turns);
}
