#include "user.h"

void user_enter(u32 argument);
u32 user_eip; /* read by user_entry.S */

struct trap trap_in_user(u32 eip, u32 argument)
{
    user_eip = eip;
    return trap_in(user_enter, argument);
}
