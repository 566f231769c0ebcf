/* Says whether a guest's RAM has changed: prints a hash of the RAM of a QEMU, which does not notice.
 *
 *   digest PID BYTES       the guest has so many bytes of RAM: the smallest anonymous mapping with room for them
 *
 * Only pages that are there are read: others are zeros, and reading would make them. The BIOS' count of timer ticks is left out.
 * Its twin for QEMU and Bochs on the host is emulators/host/memory.py.
 */

#include "freestanding.h"

enum { PREAD = 17, PAGE = 4096, AT_ONCE = 16, LINES = 1 << 18 };
enum { TICKS = 0x46C };
#define PRESENT (1ul << 63) /* in an entry of /proc/PID/pagemap */
#define MIX 0x9E3779B97F4A7C15ul

static u64 number(const u8 **at, u64 base)
{
    u64 value = 0;
    for (;; (*at)++) {
        u64 digit = **at >= 'a' ? **at - 'a' + 10ul : **at - '0' + 0ul;
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

static u64 opened(const char *pid, const char *what)
{
    static char path[64];
    u64 size = length(pid);
    if (size > 20)
        fail("no such process");
    u8 *to = put((u8 *)path, "/proc/", 6);
    to = put(to, pid, size);
    put(to, what, length(what) + 1);
    u64 file = call(OPEN, (u64)path, 0, 0, 0, 0);
    if (failed(file))
        fail(path);
    return file;
}

/* Where the smallest mapping begins that can be written to, belongs to no file and has so many bytes. */
static u64 mapping(const char *pid, u64 bytes)
{
    u64 file = opened(pid, "/maps"), size = 0, part, best = 0, best_size = -1ul;
    u8 *text = room(LINES);
    while (size < LINES && (part = call(READ, file, (u64)text + size, LINES - size, 0, 0)) && !failed(part))
        size += part;
    text[size] = 0;
    for (const u8 *at = text; *at;) {
        u64 start = number(&at, 16), end = (at++, number(&at, 16));
        int writable = at[1] == 'r' && at[2] == 'w';
        u64 words = 0; /* behind the two addresses: rights, offset, device, inode and, for a file, its name */
        for (; *at && *at != '\n'; at++)
            words += at[0] == ' ' && at[1] != ' ' && at[1] != '\n';
        if (*at)
            at++;
        if (writable && words == 4 && end - start >= bytes && end - start < best_size)
            best = start, best_size = end - start;
    }
    if (!best)
        fail("no such mapping");
    return best;
}

void begin(u64 *stack)
{
    if (stack[0] != 3)
        fail("digest PID BYTES");
    const char *pid = (const char *)stack[2];
    const u8 *words = (const u8 *)stack[3];
    u64 pages = number(&words, 10) / PAGE, start = mapping(pid, pages * PAGE), hash = 0;
    u64 pagemap = opened(pid, "/pagemap"), memory = opened(pid, "/mem");
    u64 *entries = (u64 *)room(pages * 8), *data = (u64 *)room(AT_ONCE * PAGE);
    if (call(PREAD, pagemap, (u64)entries, pages * 8, start / PAGE * 8, 0) != pages * 8)
        fail("no page map");
    for (u64 first = 0, count; first < pages; first += count ? count : 1) {
        for (count = 0; count < AT_ONCE && first + count < pages && entries[first + count] & PRESENT; count++)
            ;
        if (count && call(PREAD, memory, (u64)data, count * PAGE, start + first * PAGE, 0) != count * PAGE)
            fail("no memory");
        if (count && first == 0)
            *(u32 *)((u8 *)data + TICKS) = 0;
        hash = (hash ^ first) * MIX;
        for (u64 i = 0; i < count * PAGE / 8; i++)
            hash = (hash << 7 | hash >> 57) ^ data[i] * MIX;
    }
    u8 said[32];
    write_all(1, said, (u64)(put_number(said, hash, '\n') - said));
    call(EXIT, 0, 0, 0, 0, 0);
}
