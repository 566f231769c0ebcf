/* A vector of a sweep as a check. `difftest promote` writes such checks. */
#pragma once

#include "transition.h"

/* Run a vector of a family, and judge each part of what came of it. Bits that are set in `open` are the CPU's
   choice. */
void must_come_to(u32 family, const struct vector *vector, const struct vector_outcome *required,
                  const struct vector_outcome *open);
