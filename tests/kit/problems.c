/* Checks that use the kit in a way that it cannot serve. None of them may be taken for a fault of the emulator. */
#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "mode.h"

CHECK(sound, "sound", NEEDS_NOTHING, "none", "A check without a problem passes")
{
    must("one", 1, 1);
}

CHECK(contradiction, "two-values", NEEDS_NOTHING, "none", "One field has two values, and neither is required")
{
    must("two", 2, 2);
    saw("one", 1);
    saw("one", 2);
}

CHECK(too_many, "too-many-fields", NEEDS_NOTHING, "none", "The check has more fields than a record holds")
{
    static char names[64][3];
    for (u32 index = 0; index < 64; index++) {
        names[index][0] = (char)('a' + index / 8);
        names[index][1] = (char)('a' + index % 8);
        must(names[index], index, 0);
    }
}

CHECK(away, "mode-left", NEEDS_NOTHING, "none", "The check skips in another mode, and L1 stays there")
{
    static u32 directory[1024] PAGE_ALIGNED;
    for (u32 entry = 0; entry < 1024; entry++)
        directory[entry] = entry << 22 | 0x83;
    mode_enter((struct mode){ read_cr0(), address_of(directory), read_cr4() });
    skip("in another mode");
}

CHECK(misuses, "misused", NEEDS_NOTHING, "none", "An EPT entry is edited that is not there, which ends the image")
{
    mode_leave();
    ept_identity();
    must("unreachable", *ept_entry((u64)1 << 29, EPT_PTE), 0);
}
