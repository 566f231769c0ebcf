/* Takes what the kernel has traced out of its ring buffer, as the pages that it lies in, without waiting for more.
 *
 *   drain PIPE FILE      writes to a new file
 */

#include "freestanding.h"

enum { PAGE = 4096, NEW_FILE = 01 | 0100 | 01000, NO_WAIT = 04000 }; /* flags of open() */

void begin(u64 *stack)
{
    u64 from = stack[0] == 3 ? call(OPEN, stack[2], NO_WAIT, 0, 0, 0) : -1ul;
    u64 to = failed(from) ? from : call(OPEN, stack[3], NEW_FILE, 0600, 0, 0);
    if (failed(to))
        fail("no such pipe or file");
    u8 *page = room(PAGE);
    u64 size;
    while (size = call(READ, from, (u64)page, PAGE, 0, 0), size && !failed(size)) /* nothing is left: EAGAIN */
        write_all(to, page, size);
    call(EXIT, 0, 0, 0, 0, 0);
}
