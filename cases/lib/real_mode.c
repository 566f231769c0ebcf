#include "real_mode.h"

/* real_mode.S. In the low half the vector, NO_VECTOR when there was none; in the high half the address of the instruction. */
u64 real_mode_call(const char *code);
enum { NO_VECTOR = 0xFFFF };

struct trap trap_in_real_mode(const char *code)
{
    u64 answer = real_mode_call(code);
    u32 vector = (u32)answer & 0xFFFF;
    if (vector == NO_VECTOR)
        return (struct trap){ 0 };
    return (struct trap){ .taken = true, .vector = vector, .eip = (u32)(answer >> 32) };
}
