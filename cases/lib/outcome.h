/* The image as a whole: how its checks ended, and the condition that ends it. */
#pragma once

#include "record.h"
#include "types.h"

/* The last line of an image: which condition ended it. `CONDITION` adds the place. */
struct condition {
    const char *words, *detail, *file;
    unsigned line;
};
#define CONDITION_OF(words, detail) ((struct condition){ words, detail, __FILE__, __LINE__ })
#define CONDITION(words) CONDITION_OF(words, "")

/* Report the running check and keep its verdict. */
void outcome_report(void);

/* The verdict of the check with this number in the parameter block; NOT_RUN when it was not selected, or not
   reached. */
enum verdict outcome_of(u32 number);

/* The number of checks reported so far. */
u32 outcome_count(void);

/* NULL, or the last check's reason when every check so far was skipped. */
const char *all_skipped(void);

/* End the image. */
__attribute__((noreturn)) void finish(struct condition condition);

/* End the image at once: the machine did something after which no check can run. The running check FAILs for
   `reason`. */
__attribute__((noreturn)) void give_up(const char *reason);

/* End the image at once, because a check used the kit in a way that it cannot serve: a `problem`. */
__attribute__((noreturn)) void misused(const char *words);
