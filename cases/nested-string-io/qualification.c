/* F-03: what the exit says. The violation just before is of the other kind, so that what is left of it shows. */
#include "paged.h"

L2_CODE(insb, "insb");
L2_CODE(outsb, "outsb");
L2_CODE(store, "movb %al, (%edi)");
L2_CODE(load, "movb (%esi), %al");

static u16 port_of(const struct l2_code *code)
{
    return code == &outsb ? POST_PORT : KEYBOARD_DATA;
}

/* One violation by `code`: of the page, or of the table that maps it. */
static struct vm_exit violate(const struct l2_code *code, enum violated what, u32 rights)
{
    paged_string_io(code, port_of(code));
    ept_protect(what == THE_PAGE ? (void *)target : (void *)its_table, rights);
    keyboard_ask();
    return l2_try(code);
}

static void must_qualify(const struct l2_code *code, enum violated what, u32 rights, u32 access)
{
    bool page = what == THE_PAGE;
    struct vm_exit before = violate(&store, page ? THE_TABLE : THE_PAGE, EPT_NOTHING);
    must("exit_reason_before", before.reason, EXIT_EPT_VIOLATION);
    struct vm_exit exit = violate(code, what, rights);
    u64 physical = page ? address_of(target) : address_of(its_table);
    must_violate_at(&exit, code, (struct violation_required){ physical, PAGED, access, rights, page });
    saw_exit(&exit, code->start);
}

#define PAGE_ABSENT(code, name, access, words)                                                             \
    CHECK(code##_page, "F-03/" name "-page", NEEDS_L2, QUALIFICATION,                                      \
          name " in L2 and a page absent from EPT cause an EPT violation of a " words ", with bits 8:7 = 11b") \
    {                                                                                                      \
        must_qualify(&code, THE_PAGE, EPT_NOTHING, access);                                                \
    }
#define TABLE_ABSENT(code, name)                                                                           \
    CHECK(code##_table, "F-03/" name "-table", NEEDS_L2, QUALIFICATION,                                    \
          name " in L2 through a page table absent from EPT causes an EPT violation of a read, with bits 8:7 = 01b") \
    {                                                                                                      \
        must_qualify(&code, THE_TABLE, EPT_NOTHING, VIOLATION_READ);                                       \
    }
PAGE_ABSENT(store, "MOV-store", VIOLATION_WRITE, "write")
PAGE_ABSENT(load, "MOV-load", VIOLATION_READ, "read")
PAGE_ABSENT(insb, "INSB", VIOLATION_WRITE, "write")
PAGE_ABSENT(outsb, "OUTSB", VIOLATION_READ, "read")
TABLE_ABSENT(store, "MOV-store")
TABLE_ABSENT(load, "MOV-load")
TABLE_ABSENT(insb, "INSB")
TABLE_ABSENT(outsb, "OUTSB")

CHECK(store_read_only, "F-03/MOV-store-page-read-only", NEEDS_L2, QUALIFICATION,
      "Control: MOV to a page that EPT write-protects causes an EPT violation with bits 5:3 = 101b")
{
    must_qualify(&store, THE_PAGE, EPT_READ | EPT_EXECUTE, VIOLATION_WRITE);
}

CHECK(insb_read_only, "F-03/INSB-page-read-only", NEEDS_L2, QUALIFICATION,
      "INSB in L2 to a page that EPT write-protects causes an EPT violation with bits 5:3 = 101b")
{
    must_qualify(&insb, THE_PAGE, EPT_READ | EPT_EXECUTE, VIOLATION_WRITE);
}

/* The last violation that a hypervisor below L1 handles alone is of a walk: the first through `its_table` since the
   flush, to a page that L2 has just read at its own address. */
L2_CODE(loads_then_insb, "movb (%ecx), %al\nmovb (%ebx), %al\nl2_insb_after_loads: insb");
extern const char l2_insb_after_loads[];

CHECK(insb_after_walk, "F-03/INSB-page-after-walk", NEEDS_L2, QUALIFICATION,
      "INSB in L2 to a page absent from EPT, just after the first walk through its page table, reports bits 8:7 = 11b")
{
    paged_string_io(&loads_then_insb, KEYBOARD_DATA);
    l2_registers.ecx = address_of(pages[2]);
    l2_registers.ebx = PAGED + PAGE_SIZE;
    ept_protect(target, EPT_NOTHING);
    keyboard_ask();
    struct vm_exit exit = l2_try(&loads_then_insb);
    const struct l2_code at = { l2_insb_after_loads, loads_then_insb.end };
    must_violate_at(&exit, &at, (struct violation_required){ address_of(target), PAGED, VIOLATION_WRITE, 0, 1 });
    saw_exit(&exit, at.start);
}
