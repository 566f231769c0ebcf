/* F-02: REP INS over the border of two pages, one of which is absent from EPT. */
#include "stage.h"

L2_CODE(rep_insw, "rep insw");
L2_CODE(rep_insl, "rep insl");
L2_CODE(insw, "insw");
L2_CODE(insl, "insl");

enum { FIRST_BYTES = 256 }; /* of a sector, before the border */
static u8 *const across = target - FIRST_BYTES;

/* A sector goes to both sides of the border; `absent` is the first or the second page. */
static struct vm_exit meet(const struct l2_code *code, u32 count, u8 *absent)
{
    string_io(code, across, DISK_DATA);
    l2_registers.ecx = count;
    if (absent)
        ept_protect(absent, EPT_NOTHING);
    disk_ask();
    return l2_try(code);
}

/* With the second page absent: what must have happened at the exit, and after the page is mapped. */
static void must_pause_at_border(const struct l2_code *code, u32 size)
{
    const u16 *words = disk_answer();
    u32 count = 2 * DISK_WORDS / size, first = FIRST_BYTES / size;
    struct vm_exit exit = meet(code, count, target);
    must("violation_exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("violation_ecx", exit.registers.ecx, count - first);
    must("violation_edi_step", exit.registers.edi - address_of(across), FIRST_BYTES);
    must("violation_guest_physical_address", exit.guest_physical_address, address_of(target));
    must("violation_guest_linear_address", exit.guest_linear_address, address_of(target));
    must("violation_rip_offset", rip_offset(&exit, code->start), 0);
    if (exit.reason == EXIT_EPT_VIOLATION)
        exit = resume_with(target);
    must("ecx", exit.registers.ecx, 0);
    must("edi_step", exit.registers.edi - address_of(across), 2 * DISK_WORDS);
    must_have_stored(across, words, 2 * DISK_WORDS);
    must("disk_wants", disk_wants(), false);
    must_execute(&exit, code);
}

CHECK(words_mapped, "F-02/mapped", NEEDS_L2, INS,
      "Control: REP INSW in L2 stores a sector across two pages that EPT maps")
{
    const u16 *words = disk_answer();
    struct vm_exit exit = meet(&rep_insw, DISK_WORDS, NULL);
    must("ecx", exit.registers.ecx, 0);
    must("edi_step", exit.registers.edi - address_of(across), 2 * DISK_WORDS);
    must_have_stored(across, words, 2 * DISK_WORDS);
    must_execute(&exit, &rep_insw);
}

CHECK(words_absent, "F-02/second-page-absent", NEEDS_L2, BEFORE_EXIT,
      "REP INSW in L2 whose second page is absent from EPT exits at the border with the first page's words stored")
{
    must_pause_at_border(&rep_insw, 2);
}

CHECK(longs_absent, "F-02/insd-second-page-absent", NEEDS_L2, BEFORE_EXIT,
      "REP INSD in L2 whose second page is absent from EPT exits at the border with the first page's data stored")
{
    must_pause_at_border(&rep_insl, 4);
}

CHECK(first_absent, "F-02/first-page-absent", NEEDS_L2, BEFORE_EXIT,
      "REP INSW in L2 whose first page is absent from EPT exits with nothing done, and then stores all words")
{
    const u16 *words = disk_answer();
    struct vm_exit exit = meet(&rep_insw, DISK_WORDS, pages[0]);
    must("violation_exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("violation_ecx", exit.registers.ecx, DISK_WORDS);
    must("violation_edi_step", exit.registers.edi - address_of(across), 0);
    if (exit.reason == EXIT_EPT_VIOLATION)
        exit = resume_with(pages[0]);
    must_have_stored(across, words, 2 * DISK_WORDS);
    must_execute(&exit, &rep_insw);
}

/* One element that lies in both pages, `before` bytes of it in the first. */
static void straddle(const struct l2_code *code, u32 size, u32 before, bool absent)
{
    const u16 *words = disk_answer();
    u8 *to = target - before;
    string_io(code, to, DISK_DATA);
    if (absent)
        ept_protect(target, EPT_NOTHING);
    disk_ask();
    struct vm_exit exit = l2_try(code);
    if (absent) {
        must("violation_exit_reason", exit.reason, EXIT_EPT_VIOLATION);
        must("violation_page", exit.guest_physical_address & ~(u64)(PAGE_SIZE - 1), address_of(target));
        must("violation_edi_step", exit.registers.edi - address_of(to), 0);
        if (exit.reason == EXIT_EPT_VIOLATION)
            exit = resume_with(target);
    }
    must_have_stored(to, words, size);
    must("edi_step", exit.registers.edi - address_of(to), size);
    must_execute(&exit, code);
}

CHECK(word_across, "F-02/insw-straddles-mapped", NEEDS_L2, INS,
      "Control: INSW in L2 stores a word that lies in two pages")
{
    straddle(&insw, 2, 1, false);
}

CHECK(long_across, "F-02/insd-straddles-mapped", NEEDS_L2, INS,
      "Control: INSD in L2 stores a doubleword that lies in two pages")
{
    straddle(&insl, 4, 3, false);
}

CHECK(word_across_absent, "F-02/insw-straddles-absent", NEEDS_L2, BEFORE_EXIT,
      "INSW in L2 of a word in two pages, the second absent from EPT, stores it after that page is mapped")
{
    straddle(&insw, 2, 1, true);
}

CHECK(long_across_absent, "F-02/insd-straddles-absent", NEEDS_L2, BEFORE_EXIT,
      "INSD in L2 of a doubleword in two pages, the second absent from EPT, stores it after that page is mapped")
{
    straddle(&insl, 4, 3, true);
}
