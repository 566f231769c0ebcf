/* Strings, as far as the kit needs them. */
#pragma once

#include "types.h"

static inline bool equal(const char *one, const char *other)
{
    while (*one && *one == *other) {
        one++;
        other++;
    }
    return *one == *other;
}
