/* Rows L1-20, L1-21 and L1-23: what the rights in the entries of a page allow, in each paging mode. */
#include "check.h"
#include "cpu.h"
#include "feature.h"
#include "user.h"
#include "window.h"

#define ACCESS_RIGHTS "Access Rights (Vol. 3, 4.6)"
#define PAGE_FAULTS "Page-Fault Exceptions (Vol. 3, 4.7)"

enum { SUPERVISOR_PAGE = PTE_WRITABLE | PTE_PRESENT, USER_PAGE = PTE_USER | SUPERVISOR_PAGE };

/* What is set for the access, beside the rights. */
struct setting {
    u32 cr0, cr4, efer;
    bool ac;
};
#define PLAIN ((struct setting){ 0 })
#define WP ((struct setting){ .cr0 = CR0_WP })
#define SMEP ((struct setting){ .cr4 = CR4_SMEP })
#define SMAP ((struct setting){ .cr4 = CR4_SMAP })
#define SMAP_AND_AC ((struct setting){ .cr4 = CR4_SMAP, .ac = true })
#define NXE ((struct setting){ .efer = EFER_NXE })

static void set(struct setting with, struct setting before)
{
    write_cr0(before.cr0 | with.cr0);
    write_cr4(before.cr4 | with.cr4);
    if (with.efer)
        write_msr(IA32_EFER, before.efer | with.efer);
    write_ac(with.ac);
}

/* Withdraw or grant `flip` in the window's entry of one level after the other, and access the page. Bit `level` of the
   answer: a page fault at this access with just this error code; bit 8 + `level`: any other exception. */
static u32 faulting_levels(enum paging paging, u64 rights, u64 flip, struct setting with, enum access access,
                           u32 error_code)
{
    struct setting before = { read_cr0(), read_cr4(), with.efer ? (u32)read_msr(IA32_EFER) : 0, false };
    u32 levels = 0;
    set(with, before);
    for (enum level level = LEVEL_PTE; level < window_levels(paging); level++) {
        window_rights(rights);
        window_set(level, window_entry(level) ^ flip);
        window_flush();
        struct trap trap = window_access(access);
        bool in_window = trap.cr2 >> 12 == window_address() >> 12;
        if (trap.taken && trap.vector == VECTOR_PF && trap.error_code == error_code && in_window)
            levels |= 1u << level;
        else if (trap.taken)
            levels |= 256u << level;
    }
    set(PLAIN, before);
    if (with.efer)
        write_msr(IA32_EFER, before.efer);
    return levels;
}

static void need_paging(enum paging paging)
{
    if (paging == PAGING_4_LEVEL)
        need(FEATURE_LONG_MODE);
    else if (paging == PAGING_PAE)
        need(FEATURE_PAE);
}

/* The same check in each paging mode, in the window. `all` is a bit for each level; `needed` is a statement,
   `need(...)` or nothing. */
#define CHECK_PAGING(body, id, paging, needed, sdm, summary)                                                           \
    CHECK(body##_##paging, id, NEEDS_NOTHING, sdm, summary)                                                            \
    {                                                                                                                  \
        need_paging(paging);                                                                                           \
        needed;                                                                                                        \
        window_enter(paging, USER_PAGE);                                                                               \
        body(paging, (1u << window_levels(paging)) - 1);                                                               \
        window_leave();                                                                                                \
    }
#define CHECK_WIDE_PAGING(body, id, needed, sdm, summary)                                                              \
    CHECK_PAGING(body, id "/pae-paging", PAGING_PAE, needed, sdm, summary ", under PAE paging")                        \
    CHECK_PAGING(body, id "/4-level-paging", PAGING_4_LEVEL, needed, sdm, summary ", under 4-level paging")
#define CHECK_EACH_PAGING(body, id, needed, sdm, summary)                                                              \
    CHECK_PAGING(body, id "/32-bit-paging", PAGING_32_BIT, needed, sdm, summary ", under 32-bit paging")               \
    CHECK_WIDE_PAGING(body, id, needed, sdm, summary)

/* The two instructions that read and write. */
struct by {
    enum access read, write;
};
#define BY_MOV ((struct by){ ACCESS_READ, ACCESS_WRITE })
#define BY_STRING_IO ((struct by){ ACCESS_OUTS, ACCESS_INS })

static void write_protection_by(struct by by, enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_WRITE;
    must("user_page_wp_0", faulting_levels(paging, USER_PAGE, PTE_WRITABLE, PLAIN, by.write, error), 0);
    must("user_page_wp_1", faulting_levels(paging, USER_PAGE, PTE_WRITABLE, WP, by.write, error), all);
    must("supervisor_page_wp_0", faulting_levels(paging, SUPERVISOR_PAGE, PTE_WRITABLE, PLAIN, by.write, error), 0);
    must("supervisor_page_wp_1", faulting_levels(paging, SUPERVISOR_PAGE, PTE_WRITABLE, WP, by.write, error), all);
    must("writable_page_wp_1", faulting_levels(paging, SUPERVISOR_PAGE, 0, WP, by.write, error), 0);
    must("read_wp_1", faulting_levels(paging, USER_PAGE, PTE_WRITABLE, WP, by.read, error), 0);
}

static void write_protection(enum paging paging, u32 all)
{
    write_protection_by(BY_MOV, paging, all);
}
CHECK_EACH_PAGING(write_protection, "L1-20/supervisor", , ACCESS_RIGHTS,
      "A supervisor write to a page that is read-only at one level causes #PF with CR0.WP=1 and executes with WP=0")

static void write_protection_io(enum paging paging, u32 all)
{
    write_protection_by(BY_STRING_IO, paging, all);
}
CHECK_EACH_PAGING(write_protection_io, "L1-20/string-io", , ACCESS_RIGHTS,
      "INSB to a page that is read-only at one level causes #PF with CR0.WP=1 and executes with WP=0")

/* Accessed flags of the levels, and above bit 8 the dirty flag of the PTE, after one access to entries without any. */
static u32 flags_after(enum access access, enum paging paging)
{
    u32 flags = 0;
    window_rights(USER_PAGE);
    window_flush();
    if (window_access(access).taken)
        return ~0u;
    for (enum level level = LEVEL_PTE; level < window_levels(paging); level++)
        flags |= window_entry(level) & PTE_ACCESSED ? 1u << level : 0;
    return flags | (window_entry(LEVEL_PTE) & PTE_DIRTY ? 256 : 0);
}

static void flags_by_io(enum paging paging, u32 all)
{
    must("flags_after_outs", flags_after(ACCESS_OUTS, paging), all);
    must("flags_after_ins", flags_after(ACCESS_INS, paging), all | 256);
}
CHECK_EACH_PAGING(flags_by_io, "L1-20/string-io-flags", , "Accessed and Dirty Flags (Vol. 3, 4.8)",
      "OUTSB sets the accessed flags of all levels, and INSB the dirty flag of the PTE, too")

static void smep_fetch(enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_FETCH;
    must("user_page_smep_0", faulting_levels(paging, USER_PAGE, 0, PLAIN, ACCESS_FETCH, error), 0);
    must("user_page_smep_1", faulting_levels(paging, USER_PAGE, 0, SMEP, ACCESS_FETCH, error), all);
    must("supervisor_at_one_level_smep_1", faulting_levels(paging, USER_PAGE, PTE_USER, SMEP, ACCESS_FETCH, error), 0);
    must("read_smep_1", faulting_levels(paging, USER_PAGE, 0, SMEP, ACCESS_READ, error), 0);
}
CHECK_EACH_PAGING(smep_fetch, "L1-21/smep", need(FEATURE_SMEP), ACCESS_RIGHTS,
      "A supervisor fetch from a user page causes #PF with CR4.SMEP=1")

static void smap_access_by(struct by by, enum paging paging, u32 all)
{
    must("read_smap_0", faulting_levels(paging, USER_PAGE, 0, PLAIN, by.read, PF_PRESENT), 0);
    must("read_smap_1", faulting_levels(paging, USER_PAGE, 0, SMAP, by.read, PF_PRESENT), all);
    must("write_smap_1", faulting_levels(paging, USER_PAGE, 0, SMAP, by.write, PF_PRESENT | PF_WRITE), all);
    must("read_ac_1", faulting_levels(paging, USER_PAGE, 0, SMAP_AND_AC, by.read, PF_PRESENT), 0);
    must("write_ac_1", faulting_levels(paging, USER_PAGE, 0, SMAP_AND_AC, by.write, PF_PRESENT | PF_WRITE), 0);
    must("supervisor_at_one_level", faulting_levels(paging, USER_PAGE, PTE_USER, SMAP, by.read, PF_PRESENT), 0);
}

static void smap_access(enum paging paging, u32 all)
{
    smap_access_by(BY_MOV, paging, all);
}
CHECK_EACH_PAGING(smap_access, "L1-21/smap", need(FEATURE_SMAP), ACCESS_RIGHTS,
      "A supervisor access to a user page causes #PF with CR4.SMAP=1 and EFLAGS.AC=0, and executes with AC=1")

static void smap_access_io(enum paging paging, u32 all)
{
    smap_access_by(BY_STRING_IO, paging, all);
}
CHECK_EACH_PAGING(smap_access_io, "L1-21/smap-string-io", need(FEATURE_SMAP), ACCESS_RIGHTS,
      "INSB and OUTSB of a user page at CPL 0 cause #PF with CR4.SMAP=1 and EFLAGS.AC=0, and execute with AC=1")

static void xd_reserved_by(struct by by, enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_RESERVED;
    must("read", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, PLAIN, by.read, error), all);
    must("write", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, PLAIN, by.write, error | PF_WRITE), all);
    must("read_nxe_1", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, NXE, by.read, error), 0);
    must("write_nxe_1", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, NXE, by.write, error | PF_WRITE), 0);
}

static void xd_reserved_io(enum paging paging, u32 all)
{
    xd_reserved_by(BY_STRING_IO, paging, all);
}

static void xd_reserved(enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_RESERVED;
    xd_reserved_by(BY_MOV, paging, all);
    must("fetch", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, PLAIN, ACCESS_FETCH, error), all);
}
CHECK_WIDE_PAGING(xd_reserved, "L1-23/nxe-0", need(FEATURE_NX), PAGE_FAULTS,
      "Each access through an entry with XD=1 causes #PF with RSVD when NXE=0")
CHECK_WIDE_PAGING(xd_reserved_io, "L1-23/string-io", need(FEATURE_NX), PAGE_FAULTS,
      "INSB and OUTSB through an entry with XD=1 cause #PF with RSVD when NXE=0, and execute when NXE=1")

static void xd_fetch(enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_FETCH;
    must("fetch", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, NXE, ACCESS_FETCH, error), all);
    must("fetch_xd_0", faulting_levels(paging, SUPERVISOR_PAGE, 0, NXE, ACCESS_FETCH, error), 0);
    must("read", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, NXE, ACCESS_READ, PF_PRESENT), 0);
    must("write", faulting_levels(paging, SUPERVISOR_PAGE, PTE_XD, NXE, ACCESS_WRITE, PF_PRESENT | PF_WRITE), 0);
}
CHECK_WIDE_PAGING(xd_fetch, "L1-23/nxe-1", need(FEATURE_NX), PAGE_FAULTS,
      "A fetch through an entry with XD=1 causes #PF with I/D when NXE=1, and reads and writes execute")

/* Bits of the physical address that the CPU lacks, at each level. */
static void reserved_address_by(struct by by, enum paging paging, u32 all)
{
    u32 error = PF_PRESENT | PF_RESERVED;
    u64 lowest = (u64)1 << physical_address_bits(), highest = (u64)1 << 51;
    if (lowest > highest)
        return;
    must("read_lowest", faulting_levels(paging, SUPERVISOR_PAGE, lowest, PLAIN, by.read, error), all);
    must("write_lowest", faulting_levels(paging, SUPERVISOR_PAGE, lowest, PLAIN, by.write, error | PF_WRITE), all);
    must("read_highest", faulting_levels(paging, SUPERVISOR_PAGE, highest, PLAIN, by.read, error), all);
    must("write_highest", faulting_levels(paging, SUPERVISOR_PAGE, highest, PLAIN, by.write, error | PF_WRITE), all);
}

static void reserved_address(enum paging paging, u32 all)
{
    reserved_address_by(BY_MOV, paging, all);
}
CHECK_WIDE_PAGING(reserved_address, "L1-19/address-bits", , PAGE_FAULTS,
      "Each access through an entry with an address bit that the CPU lacks causes #PF with RSVD")

static void reserved_address_io(enum paging paging, u32 all)
{
    reserved_address_by(BY_STRING_IO, paging, all);
}
CHECK_WIDE_PAGING(reserved_address_io, "L1-19/string-io", , PAGE_FAULTS,
      "INSB and OUTSB through an entry with an address bit that the CPU lacks cause #PF with RSVD")

/* User code in the window itself: one access to the page, then HLT. */
extern const char user_write[], user_write_hlt[], user_read[], user_read_hlt[];
extern const char set_smep[], set_smep_then[], set_smep_end[];
asm(".pushsection .text\n"
    "user_write:     movl %eax, 64(%eax)\n"
    "user_write_hlt: hlt\n"
    "user_read:      movl 64(%eax), %eax\n"
    "user_read_hlt:  hlt\n"
    "set_smep:       movl %eax, %cr4\n"
    "set_smep_then:  ret\n"
    "set_smep_end:\n"
    ".popsection\n");

static void copy_to_window(const char *from, const char *to)
{
    for (u32 index = 0; from + index < to; index++)
        window_page[index] = (u8)from[index];
}

/* User code that makes one access, and its HLT. */
struct user_code {
    const char *start, *hlt;
};
static const struct user_code writes = { user_write, user_write_hlt }, reads = { user_read, user_read_hlt };

/* Run it in the window, with `rights` in its entries, under 32-bit paging. */
static struct trap user_access(const struct user_code *code, u64 rights, struct setting with)
{
    window_enter(PAGING_32_BIT, rights);
    copy_to_window(code->start, code->hlt + 1);
    write_cr0(read_cr0() | with.cr0);
    write_cr4(read_cr4() | with.cr4);
    struct trap trap = trap_in_user((u32)window_address(), (u32)window_address());
    window_leave();
    return trap;
}

static void must_reach_hlt(const char *field, const struct user_code *code, u64 rights, struct setting with)
{
    struct trap trap = user_access(code, rights, with);
    u32 hlt = (u32)window_address() + (u32)(code->hlt - code->start);
    must(field, trap.vector == VECTOR_GP && trap.eip == hlt, true);
}

CHECK(user_write_control, "L1-20/user-control", NEEDS_NOTHING, ACCESS_RIGHTS,
      "Control: user code writes to a writable user page and reads a read-only one")
{
    must_reach_hlt("writes", &writes, USER_PAGE, WP);
    must_reach_hlt("reads", &reads, USER_PAGE & ~PTE_WRITABLE, WP);
}

CHECK(user_write_wp, "L1-20/user", NEEDS_NOTHING, ACCESS_RIGHTS,
      "A user write to a read-only user page causes #PF whatever CR0.WP is")
{
    struct trap without = user_access(&writes, USER_PAGE & ~PTE_WRITABLE, PLAIN);
    struct trap with = user_access(&writes, USER_PAGE & ~PTE_WRITABLE, WP);
    must("vector_wp_0", without.vector, VECTOR_PF);
    must("error_code_wp_0", without.error_code, PF_PRESENT | PF_WRITE | PF_USER);
    must("vector_wp_1", with.vector, VECTOR_PF);
    must("error_code_wp_1", with.error_code, PF_PRESENT | PF_WRITE | PF_USER);
    must("cr2_offset", with.cr2 - window_address(), 64);
}

CHECK(user_smep, "L1-21/user-smep", NEEDS_NOTHING, ACCESS_RIGHTS,
      "User code runs and reads in a user page with CR4.SMEP=1")
{
    need(FEATURE_SMEP);
    must_reach_hlt("reads", &reads, USER_PAGE, SMEP);
}

CHECK(user_smap, "L1-21/user-smap", NEEDS_NOTHING, ACCESS_RIGHTS, "User code writes to a user page with CR4.SMAP=1")
{
    need(FEATURE_SMAP);
    must_reach_hlt("writes", &writes, USER_PAGE, SMAP);
}

/* Call supervisor code that lies in the window, a user page: it sets CR4 from EAX. */
static void call_window_with_smep(u32 cr4)
{
    asm volatile("call *%1" : : "a"(cr4), "r"((u32)window_address()) : "memory");
}

CHECK(smep_set_there, "L1-21/smep-set-in-user-page", NEEDS_NOTHING, ACCESS_RIGHTS,
      "MOV to CR4 that sets SMEP in a user page executes, and the fetch of the next instruction causes #PF")
{
    need(FEATURE_SMEP);
    window_enter(PAGING_32_BIT, USER_PAGE);
    copy_to_window(set_smep, set_smep_end);
    u32 cr4 = read_cr4();
    struct trap control = trap_in(call_window_with_smep, cr4);
    struct trap trap = trap_in(call_window_with_smep, cr4 | CR4_SMEP);
    u32 after = read_cr4();
    window_leave();
    must("control_faults", control.taken, false);
    must("vector", trap.vector, VECTOR_PF);
    must("error_code", trap.error_code, PF_PRESENT | PF_FETCH);
    must("eip_offset", trap.eip - (u32)window_address(), (u32)(set_smep_then - set_smep));
    must("cr2_offset", trap.cr2 - window_address(), (u32)(set_smep_then - set_smep));
    must("cr4", after, cr4 | CR4_SMEP);
}

CHECK(smap_set_there, "L1-21/smap-set-before-access", NEEDS_NOTHING, ACCESS_RIGHTS,
      "MOV to CR4 that sets SMAP makes the next read of a user page fault although the page was read before")
{
    need(FEATURE_SMAP);
    window_enter(PAGING_32_BIT, USER_PAGE);
    bool control = window_access(ACCESS_READ).taken;
    write_cr4(read_cr4() | CR4_SMAP);
    struct trap trap = window_access(ACCESS_READ);
    window_leave();
    must("control_faults", control, false);
    must("vector", trap.vector, VECTOR_PF);
    must("error_code", trap.error_code, PF_PRESENT);
}
