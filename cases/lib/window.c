#include "window.h"

#include "cpu.h"
#include "long.h"
#include "mode.h"

enum { WINDOW = 0x40000000, DATA = 16, RET = 0xC3 };
#define WINDOW_4_LEVEL ((u64)1 << 39)

u8 window_page[PAGE_SIZE] PAGE_ALIGNED;

static enum paging current;
static u64 table[512] PAGE_ALIGNED, directory[512] PAGE_ALIGNED, pdpt[512] PAGE_ALIGNED;
static u32 table_32_bit[1024] PAGE_ALIGNED, directory_32_bit[1024] PAGE_ALIGNED;
static struct pae_tables pae;

/* The same bytes serve 64-bit code, with the address in RAX, and after a prologue 32-bit C. String I/O has it in the
   index register, which belongs to the caller. */
extern const char window_read[], window_write[], window_fetch[], window_ins[], window_outs[], window_vmptrst[],
    window_vmread[], window_invept[];
void window_read_32(u32 address), window_write_32(u32 address), window_fetch_32(u32 address);
void window_ins_32(u32 address), window_outs_32(u32 address), window_vmptrst_32(u32 address);
void window_vmread_32(u32 address), window_invept_32(u32 address);
#define ACCESS_BODY(name, instruction)             \
    asm(".pushsection .text\n"                     \
        "window_" name "_32: movl 4(%esp), %eax\n" \
        "window_" name ": " instruction "\n"       \
        "ret\n"                                    \
        ".popsection\n")
ACCESS_BODY("read", "movl (%eax), %eax");
ACCESS_BODY("write", "movl %eax, (%eax)");
ACCESS_BODY("fetch", "call *%eax");
ACCESS_BODY("vmptrst", "vmptrst (%eax)");
ACCESS_BODY("vmread", "movl $0x440E, %ecx; vmread %ecx, (%eax)"); /* the VM-exit instruction information */
ACCESS_BODY("invept", "movl $2, %ecx; invept (%eax), %ecx");
#define STRING_BODY(name, index, port, instruction) \
    asm(".pushsection .text\n"                      \
        "window_" name "_32: pushl %e" index "\n"   \
        "movl 8(%esp), %e" index "\n"               \
        "movl $" port ", %edx\n"                    \
        instruction "\n"                            \
        "popl %e" index "\n"                        \
        "ret\n"                                     \
        ".code64\n"                                 \
        "window_" name ": pushq %r" index "\n"      \
        "movq %rax, %r" index "\n"                  \
        "movl $" port ", %edx\n"                    \
        instruction "\n"                            \
        "popq %r" index "\n"                        \
        "ret\n"                                     \
        ".code32\n"                                 \
        ".popsection\n")
STRING_BODY("ins", "di", "0x61", "insb");
STRING_BODY("outs", "si", "0x80", "outsb");

u32 window_levels(enum paging paging)
{
    return paging == PAGING_4_LEVEL ? 4 : 2;
}

u64 window_address(void)
{
    return current == PAGING_4_LEVEL ? WINDOW_4_LEVEL : WINDOW;
}

/* The entry of each level. */
static u64 *wide_entry(enum level level)
{
    u64 *const pde = current == PAGING_PAE ? &pae.directories[WINDOW >> 30][0] : directory;
    u64 *const entries[] = { table, pde, pdpt, &long_pml4[1] };
    return entries[level];
}

static u32 *narrow_entry(enum level level)
{
    return level == LEVEL_PTE ? table_32_bit : &directory_32_bit[WINDOW >> 22];
}

u64 window_entry(enum level level)
{
    return current == PAGING_32_BIT ? *narrow_entry(level) : *wide_entry(level);
}

void window_set(enum level level, u64 entry)
{
    if (current == PAGING_32_BIT)
        *narrow_entry(level) = (u32)entry;
    else
        *wide_entry(level) = entry;
}

void window_rights(u64 rights)
{
    window_set(LEVEL_PTE, address_of(window_page) | rights);
    window_set(LEVEL_PDE, address_of(current == PAGING_32_BIT ? (void *)table_32_bit : table) | rights);
    if (current == PAGING_4_LEVEL) {
        window_set(LEVEL_PDPTE, address_of(directory) | rights);
        window_set(LEVEL_PML4E, address_of(pdpt) | rights);
    }
}

void window_flush(void)
{
    write_cr3(read_cr3());
}

void window_enter(enum paging paging, u64 rights)
{
    u32 cr0 = read_cr0() & ~CR0_WP;
    current = paging;
    window_page[0] = RET;
    switch (paging) {
    case PAGING_32_BIT:
        identity_32_bit(directory_32_bit);
        mode_enter((struct mode){ cr0, address_of(directory_32_bit), CR4_PSE });
        break;
    case PAGING_PAE:
        pae_identity(&pae);
        mode_enter((struct mode){ cr0, address_of(pae.pdpt), CR4_PAE });
        break;
    case PAGING_4_LEVEL:
        long_enter();
        write_cr0(cr0);
        break;
    }
    window_rights(rights);
    window_flush();
}

void window_leave(void)
{
    if (current == PAGING_4_LEVEL)
        long_leave();
    else
        mode_leave();
}

struct trap window_access(enum access access)
{
    static const char *const bodies[] = { window_read, window_write, window_fetch, window_ins,
                                         window_outs, window_vmptrst, window_vmread, window_invept };
    static void (*const bodies_32[])(u32) = { window_read_32, window_write_32, window_fetch_32, window_ins_32,
                                              window_outs_32, window_vmptrst_32, window_vmread_32, window_invept_32 };
    u64 address = window_address() + (access == ACCESS_FETCH ? 0 : DATA);
    return current == PAGING_4_LEVEL ? trap_in_64(bodies[access], address) : trap_in(bodies_32[access], (u32)address);
}
