/* Four checks, of which the second and the third kill the guest: the tester must lose neither the first nor the last. */
#include "check.h"
#include "cpu.h"

CHECK(before, "before", NEEDS_NOTHING, "none", "an ordinary check")
{
    must("value", 1, 1);
}

static void triple_fault(void)
{
    struct descriptor_pointer none = { 0, 0 };
    write_idtr(&none);
    asm volatile("int3");
}

CHECK(killer, "killer", NEEDS_NOTHING, "none", "loads an empty IDT and takes a breakpoint: triple fault")
{
    triple_fault();
}

CHECK(second_killer, "second-killer", NEEDS_NOTHING, "none", "the same again")
{
    triple_fault();
}

CHECK(behind, "behind", NEEDS_NOTHING, "none", "a check behind the killing ones")
{
    must("value", 2, 2);
}
