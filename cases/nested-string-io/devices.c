/* F-01: the destination page is absent from EPT. The exit comes before the port is read, and nothing is lost. */
#include "stage.h"

L2_CODE(insb, "insb");
L2_CODE(insw, "insw");
L2_CODE(insl, "insl");
L2_CODE(rep_insb, "rep insb");
L2_CODE(rep_insw, "rep insw");
L2_CODE(rep_insl, "rep insl");
L2_CODE(insb_downwards, "std\nl2_insb_at: insb\ncld");
L2_CODE(insb_16_bit, "addr16 insb");
L2_CODE(rep_insw_cx, "addr16 rep insw");
L2_CODE(outsb, "outsb");
L2_CODE(outsw, "outsw");
L2_CODE(outsl, "outsl");
L2_CODE(rep_outsw, "rep outsw");

/* How the target page is when the instruction meets it first. */
enum page { MAPPED, ABSENT, READ_ONLY };

static void set_page(enum page page)
{
    if (page != MAPPED)
        ept_protect(target, page == ABSENT ? EPT_NOTHING : EPT_READ | EPT_EXECUTE);
}

/* The EPT violation at `to`, if there must be one, and the exit after the page is back. */
static struct vm_exit go_on(const struct l2_code *code, const void *to, enum page page)
{
    struct vm_exit exit = l2_try(code);
    if (page == MAPPED)
        return exit;
    must("violation_exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("violation_rip_offset", rip_offset(&exit, code->start), 0);
    must("violation_guest_physical_address", exit.guest_physical_address, address_of(to));
    must("violation_edi_step", exit.registers.edi - address_of(to), 0);
    return exit.reason == EXIT_EPT_VIOLATION ? resume_with(target) : exit;
}

static void keyboard(const struct l2_code *code, u32 step, enum page page)
{
    u8 expected = keyboard_answer();
    string_io(code, target + 1, KEYBOARD_DATA);
    l2_registers.ecx = 1;
    set_page(page);
    keyboard_ask();
    struct vm_exit exit = go_on(code, target + 1, page);
    must_have_stored(target + 1, &expected, 1);
    must("edi_step", exit.registers.edi - address_of(target + 1), step);
    must("keyboard_full", keyboard_full(), false);
    must_execute(&exit, code);
}

CHECK(keyboard_mapped, "F-01/keyboard-mapped", NEEDS_L2, INS,
      "Control: INSB in L2 from the keyboard controller stores the byte when EPT maps the page")
{
    keyboard(&insb, 1, MAPPED);
}

CHECK(keyboard_absent, "F-01/keyboard-absent", NEEDS_L2, BEFORE_EXIT,
      "INSB in L2 from the keyboard controller to a page absent from EPT stores the byte after the page is mapped")
{
    keyboard(&insb, 1, ABSENT);
}

CHECK(keyboard_read_only, "F-01/keyboard-read-only", NEEDS_L2, BEFORE_EXIT,
      "INSB in L2 from the keyboard controller to a page read-only in EPT stores the byte after the page is writable")
{
    keyboard(&insb, 1, READ_ONLY);
}

CHECK(keyboard_rep, "F-01/keyboard-rep", NEEDS_L2, BEFORE_EXIT,
      "REP INSB of one byte to a page absent from EPT stores it after the page is mapped")
{
    keyboard(&rep_insb, 1, ABSENT);
}

CHECK(keyboard_unread, "F-01/keyboard-unread", NEEDS_L2, BEFORE_EXIT,
      "INSB in L2 to a page absent from EPT exits before the port is read: the controller's output buffer stays full")
{
    string_io(&insb, target, KEYBOARD_DATA);
    set_page(ABSENT);
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb);
    must("exit_reason", exit.reason, EXIT_EPT_VIOLATION);
    must("keyboard_full", keyboard_full(), true);
    must_have_done_nothing(&exit, target, 0);
    must_stop_at(&exit, insb.start);
    saw_exit(&exit, insb.start);
}

CHECK(downwards_mapped, "F-01/direction-flag", NEEDS_L2, INS,
      "INSB in L2 with DF=1 stores the byte and decrements EDI")
{
    u8 expected = keyboard_answer();
    string_io(&insb_downwards, target + 1, KEYBOARD_DATA);
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb_downwards);
    must_have_stored(target + 1, &expected, 1);
    must("edi_step", exit.registers.edi - address_of(target + 1), 0xFFFFFFFF);
    must_execute(&exit, &insb_downwards);
}

CHECK(addr16, "F-01/di", NEEDS_L2, INS, "INSB in L2 with 16-bit addresses stores at ES:DI and leaves EDI[31:16] alone")
{
    u8 expected = keyboard_answer();
    string_io(&insb_16_bit, target, KEYBOARD_DATA);
    vmcs_write(GUEST_ES_BASE, address_of(target));
    l2_registers.edi = 0x12340010;
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb_16_bit);
    must_have_stored(target + 0x10, &expected, 1);
    must("edi", exit.registers.edi, 0x12340011);
    must_execute(&exit, &insb_16_bit);
}

CHECK(segment, "F-01/es-base", NEEDS_L2, INS, "INSB in L2 stores at ES:EDI: the base of ES counts")
{
    u8 expected = keyboard_answer();
    string_io(&insb, target, KEYBOARD_DATA);
    vmcs_write(GUEST_ES_BASE, 0x10);
    keyboard_ask();
    struct vm_exit exit = l2_try(&insb);
    must_have_stored(target + 0x10, &expected, 1);
    must_execute(&exit, &insb);
}

CHECK(no_count, "F-01/rep-of-none", NEEDS_L2, INS, "REP INSB in L2 with ECX=0 reads no port and stores nothing")
{
    string_io(&rep_insb, target, KEYBOARD_DATA);
    ept_protect(target, EPT_NOTHING);
    keyboard_ask();
    struct vm_exit exit = l2_try(&rep_insb);
    must("keyboard_full", keyboard_full(), true);
    must("edi_step", exit.registers.edi - address_of(target), 0);
    must_execute(&exit, &rep_insb);
}

static void timer(enum page page)
{
    string_io(&insb, target + 1, PIT_COUNTER);
    set_page(page);
    pit_latch_status();
    struct vm_exit exit = go_on(&insb, target + 1, page);
    must("status", target[1] & PIT_STATUS_BITS, PIT_STATUS);
    must("byte_after", target[2], FILL);
    must_execute(&exit, &insb);
}

CHECK(timer_mapped, "F-01/timer-mapped", NEEDS_L2, INS,
      "Control: INSB in L2 from a timer counter with its status latched stores the status when EPT maps the page")
{
    timer(MAPPED);
}

CHECK(timer_absent, "F-01/timer-absent", NEEDS_L2, BEFORE_EXIT,
      "INSB in L2 from a timer counter with its status latched, to a page absent from EPT, stores the status at last")
{
    timer(ABSENT);
}

/* `count` elements of `size` bytes out of a sector. */
static void disk(const struct l2_code *code, u32 size, u32 count, enum page page)
{
    const u16 *words = disk_answer();
    u8 *to = target + 4;
    string_io(code, to, DISK_DATA);
    l2_registers.ecx = count;
    set_page(page);
    disk_ask();
    struct vm_exit exit = go_on(code, to, page);
    must("disk_wants", disk_wants(), size * count != 2 * DISK_WORDS);
    must_have_stored(to, words, size * count);
    must("edi_step", exit.registers.edi - address_of(to), size * count);
    must_execute(&exit, code);
}

CHECK(word_mapped, "F-01/disk-insw-mapped", NEEDS_L2, INS, "Control: INSW in L2 stores a word of an IDE disk")
{
    disk(&insw, 2, 1, MAPPED);
}

CHECK(word_absent, "F-01/disk-insw-absent", NEEDS_L2, BEFORE_EXIT,
      "INSW in L2 from an IDE disk to a page absent from EPT stores the word after the page is mapped")
{
    disk(&insw, 2, 1, ABSENT);
}

CHECK(long_mapped, "F-01/disk-insd-mapped", NEEDS_L2, INS, "Control: INSD in L2 stores a doubleword of an IDE disk")
{
    disk(&insl, 4, 1, MAPPED);
}

CHECK(long_absent, "F-01/disk-insd-absent", NEEDS_L2, BEFORE_EXIT,
      "INSD in L2 from an IDE disk to a page absent from EPT stores the doubleword after the page is mapped")
{
    disk(&insl, 4, 1, ABSENT);
}

CHECK(sector_mapped, "F-01/disk-rep-mapped", NEEDS_L2, INS,
      "Control: REP INSW in L2 stores a sector of an IDE disk when EPT maps the page")
{
    disk(&rep_insw, 2, DISK_WORDS, MAPPED);
}

CHECK(sector_long, "F-01/disk-rep-insd-mapped", NEEDS_L2, INS,
      "Control: REP INSD in L2 stores a sector of an IDE disk when EPT maps the page")
{
    disk(&rep_insl, 4, DISK_WORDS / 2, MAPPED);
}

CHECK(sector_absent, "F-01/disk-rep-absent", NEEDS_L2, BEFORE_EXIT,
      "REP INSW in L2 of a sector to a page absent from EPT stores all words after the page is mapped")
{
    disk(&rep_insw, 2, DISK_WORDS, ABSENT);
}

CHECK(sector_read_only, "F-01/disk-rep-read-only", NEEDS_L2, BEFORE_EXIT,
      "REP INSW in L2 of a sector to a page read-only in EPT stores all words after the page is writable")
{
    disk(&rep_insw, 2, DISK_WORDS, READ_ONLY);
}

CHECK(sector_cx, "F-01/disk-rep-cx", NEEDS_L2, INS,
      "REP INSW in L2 with 16-bit addresses counts in CX and leaves ECX[31:16] alone")
{
    const u16 *words = disk_answer();
    string_io(&rep_insw_cx, target, DISK_DATA);
    vmcs_write(GUEST_ES_BASE, address_of(target));
    l2_registers.edi = 0x10;
    l2_registers.ecx = 0x10000 | DISK_WORDS;
    disk_ask();
    struct vm_exit exit = l2_try(&rep_insw_cx);
    must_have_stored(target + 0x10, words, 2 * DISK_WORDS);
    must("ecx", exit.registers.ecx, 0x10000);
    must("edi", exit.registers.edi, 0x10 + 2 * DISK_WORDS);
    must_execute(&exit, &rep_insw_cx);
}

/* OUTS reads its page first; what it would write nobody can see. */
static void output(const struct l2_code *code, u32 size, u32 count, enum page page)
{
    string_io(code, target, POST_PORT);
    l2_registers.ecx = count;
    set_page(page);
    struct vm_exit exit = l2_try(code);
    if (page == ABSENT) {
        must_violate_at(&exit, code, (struct violation_required){ address_of(target), address_of(target),
                                                                 VIOLATION_READ, EPT_NOTHING, 1 });
        must_have_done_nothing(&exit, target, count);
        saw_exit(&exit, code->start);
        return;
    }
    must("esi_step", exit.registers.esi - address_of(target), size * count);
    must_execute(&exit, code);
}

#define OUTPUTS(code, id, name, size, count)                                                                \
    CHECK(code##_mapped, "F-01/" id "-mapped", NEEDS_L2, OUTS,                                              \
          "Control: " name " in L2 executes on a page that EPT maps")                                       \
    {                                                                                                       \
        output(&code, size, count, MAPPED);                                                                 \
    }                                                                                                       \
    CHECK(code##_absent, "F-01/" id "-absent", NEEDS_L2, EPT_VIOLATIONS,                                    \
          name " in L2 from a page absent from EPT causes an EPT violation of a read, with nothing done")   \
    {                                                                                                       \
        output(&code, size, count, ABSENT);                                                                 \
    }
OUTPUTS(outsb, "outsb", "OUTSB", 1, 1)
OUTPUTS(outsw, "outsw", "OUTSW", 2, 1)
OUTPUTS(outsl, "outsd", "OUTSD", 4, 1)
OUTPUTS(rep_outsw, "rep-outsw", "REP OUTSW", 2, 8)
