#include "l2_window.h"

#include "cpu.h"
#include "l2_modes.h"
#include "vmx.h"

enum { WINDOW = 0x50604000, DATA = 0x128, RET = 0xC3 };
enum { PORT_B = 0x61, POST_PORT = 0x80 }; /* to read and to write: nothing comes of it */
enum { ALL_FLAGS = PTE_DIRTY | PTE_ACCESSED | PTE_USER | PTE_WRITABLE | PTE_PRESENT };
#define HIGH_HALF ((u64)1 << 39) /* where the window is with 4-level paging: in the code below, too */
#define GIBIBYTE ((u64)1 << 30)

u8 l2_window_page[PAGE_SIZE] PAGE_ALIGNED;

static enum paging current;
static u64 table[512] PAGE_ALIGNED, directory[512] PAGE_ALIGNED, pdpt[512] PAGE_ALIGNED;

/* EBX is the address, and so are EDI and ESI. */
struct access_code {
    const char *start, *instruction;
};
#define ACCESS_CODE(name, words)                                                               \
    extern const char l2_window_##name[], l2_window_##name##_64[], l2_window_##name##_64_at[]; \
    asm(".pushsection .text\n"                                                                 \
        "l2_window_" #name ": " words(ebx) "; vmcall\n"                                        \
        ".code64\n"                                                                            \
        "l2_window_" #name "_64: btsq $39, %rbx; btsq $39, %rdi; btsq $39, %rsi\n"             \
        "l2_window_" #name "_64_at: " words(rbx) "; vmcall\n"                                  \
        ".code32\n"                                                                            \
        ".popsection\n");                                                                      \
    static const struct access_code name[] = { { l2_window_##name, l2_window_##name },         \
                                               { l2_window_##name##_64, l2_window_##name##_64_at } }
#define READ(address) "movl (%" #address "), %eax"
#define WRITE(address) "movl %eax, (%" #address ")"
#define CALL(address) "call *%" #address
#define ADD(address) "addl %eax, (%" #address ")"
#define INS(address) "insb"
#define OUTS(address) "outsb"
ACCESS_CODE(reads, READ);
ACCESS_CODE(writes, WRITE);
ACCESS_CODE(calls, CALL);
ACCESS_CODE(adds, ADD);
ACCESS_CODE(inputs, INS);
ACCESS_CODE(outputs, OUTS);

static const struct access_code *code_of(enum l2_access access)
{
    static const struct access_code *const codes[] = { reads, writes, calls, adds, inputs, outputs };
    return &codes[access][current == PAGING_4_LEVEL];
}

enum level l2_window_top(enum paging paging)
{
    static const enum level tops[] = { LEVEL_PTE, LEVEL_PDE, LEVEL_PDPTE };
    return tops[paging];
}

void *l2_window_table(enum level level)
{
    if (current == PAGING_PAE && level == LEVEL_PDE)
        return l2_tables.pae.directories[WINDOW / GIBIBYTE];
    if (current == PAGING_32_BIT && level == LEVEL_PDE)
        return l2_tables.directory;
    void *const tables[] = { table, directory, pdpt, l2_tables.pml4 };
    return tables[level];
}

u64 l2_window_slot(enum level level)
{
    u64 linear = l2_window_linear(L2_FETCH);
    u32 index_bits = current == PAGING_32_BIT ? 10 : 9, entry_bytes = current == PAGING_32_BIT ? 4 : 8;
    u32 index = (u32)(linear >> (12 + index_bits * level)) & ((1u << index_bits) - 1);
    return address_of(l2_window_table(level)) + index * entry_bytes;
}

u64 l2_window_entry(enum level level)
{
    const void *slot = (const void *)(u32)l2_window_slot(level);
    return current == PAGING_32_BIT ? *(const u32 *)slot : *(const u64 *)slot;
}

void l2_window_set(enum level level, u64 entry)
{
    void *slot = (void *)(u32)l2_window_slot(level);
    if (current == PAGING_32_BIT)
        *(u32 *)slot = (u32)entry;
    else
        *(u64 *)slot = entry;
}

void l2_window_use(enum paging paging)
{
    static void (*const uses[])(void) = { l2_use_32_bit_paging, l2_use_pae_paging, l2_use_4_level_paging };
    current = paging;
    l2_window_page[0] = RET;
    uses[paging]();
    for (enum level level = LEVEL_PTE; level <= l2_window_top(paging) + 1 && level <= LEVEL_PML4E; level++) {
        const void *lower = level == LEVEL_PTE ? l2_window_page : l2_window_table(level - 1);
        if (paging != PAGING_PAE || level < LEVEL_PDPTE)
            l2_window_set(level, address_of(lower) | ALL_FLAGS);
    }
    if (paging == PAGING_4_LEVEL)
        l2_start_in_64_bit_mode();
    else
        l2_turn_paging_on();
}

void l2_window_point(u64 guest_physical)
{
    l2_window_set(LEVEL_PTE, guest_physical | ALL_FLAGS);
}

void l2_window_move(u64 guest_physical)
{
    l2_window_point(guest_physical);
    ept_map(guest_physical, l2_window_page, EPT_ALL);
}

u64 l2_window_linear(enum l2_access access)
{
    return (current == PAGING_4_LEVEL ? HIGH_HALF : 0) + WINDOW + (access == L2_FETCH ? 0 : DATA);
}

const void *l2_window_instruction(enum l2_access access)
{
    return access == L2_FETCH ? (const void *)WINDOW : code_of(access)->instruction;
}

static void about_to(enum l2_access access)
{
    l2_registers.eax = 0;
    l2_registers.ebx = l2_registers.edi = l2_registers.esi = (u32)l2_window_linear(access);
    l2_registers.edx = access == L2_INS ? PORT_B : POST_PORT;
    vmcs_write(GUEST_RIP, address_of(code_of(access)->start));
}

struct vm_exit l2_window_access(enum l2_access access)
{
    about_to(access);
    return l2_run();
}

struct vm_exit l2_window_turn(enum l2_access access)
{
    about_to(access);
    return l2_run_briefly();
}

/* The SDM does not say whether what reads and writes in one instruction is reported as a read, where it may not read,
   nor whether its violation is both, where it may not write. */
struct ept_exit l2_window_outcome(enum l2_access access, u32 rights, u64 base)
{
    static const u32 kinds[] = { VIOLATION_READ, VIOLATION_WRITE, VIOLATION_FETCH, VIOLATION_READ | VIOLATION_WRITE };
    u32 kind = kinds[access];
    u64 linear = l2_window_linear(access);
    if (!(rights & EPT_READ) && rights & EPT_WRITE)
        return ept_misconfiguration(base + linear % PAGE_SIZE);
    if (!(kind & ~rights))
        return ept_passes();
    struct ept_exit outcome = violation_of_page(kind, rights, base + linear % PAGE_SIZE, linear);
    if (access == L2_MODIFY)
        outcome.undefined = rights & EPT_READ ? VIOLATION_READ : VIOLATION_READ | VIOLATION_WRITE;
    return outcome;
}

struct ept_exit l2_walk_outcome(enum l2_access access, u32 rights, enum level level)
{
    if (rights & EPT_READ)
        return ept_passes();
    if (rights & EPT_WRITE)
        return ept_misconfiguration(l2_window_slot(level));
    return violation_of_entry(VIOLATION_READ, rights, l2_window_slot(level), l2_window_linear(access));
}
