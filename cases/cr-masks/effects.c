#include "effects.h"

#include "feature.h"
#include "l2_modes.h"

enum { BEYOND_GDT = 0x1230, LOW_DATA = 0x10DA, HIGH_DATA = 0xDA7A, NEITHER = 0xBAD };
enum { WINDOW = 0x2000000, PDE_OF_WINDOW = WINDOW >> 22, RET = 0xC3 }; /* a window over RAM that nobody uses */
_Static_assert(SELECTOR_USER_CODE == 0x33 && SELECTOR_USER_DATA == 0x3B && BEYOND_GDT == 0x1230, "below, in assembly");

/* The instruction under test; then L2 reads the register and runs the code of the effect, at EBP. */
L2_CODE(mov_to_cr0_then, "movl %eax, %cr0; movl %cr0, %edi; jmp *%ebp");
L2_CODE(mov_to_cr4_then, "movl %eax, %cr4; movl %cr4, %edi; jmp *%ebp");
L2_CODE(lmsw_then, "lmsw %ax; movl %cr0, %edi; jmp *%ebp");

/* To CPL 3, without a stack there. */
#define AT_CPL_3(eflags, instruction)                                                             \
    "pushl $0x3B; pushl $0; pushl $" eflags "; pushl $0x33; pushl $1f; iret;"                      \
    "1: movl $0x3B, %ecx; movl %ecx, %ds; " instruction

L2_CODE(loads_selector, "movl $0x1230, %ecx; movl %ecx, %fs");
L2_CODE(waits, "fwait");
L2_CODE(initializes_fpu, "fninit");
L2_CODE(writes, "movl %esi, (%ebx)");
L2_CODE(reads, "movl (%ebx), %esi");
L2_CODE(reads_unaligned, AT_CPL_3("0x40002", "movl 1(%ebx), %ecx"));
L2_CODE(reads_time, AT_CPL_3("2", "rdtsc"));
L2_CODE(reads_dr4, "movl %dr4, %ecx");
L2_CODE(uses_sse, "xorps %xmm0, %xmm0");
L2_CODE(reads_xcr0, "xorl %ecx, %ecx; xgetbv");
L2_CODE(calls, "call *%ebx");

/* What L2 reads, writes or calls; in a page of its own, so that a large page can show it in the window. */
static u32 data[PAGE_SIZE / sizeof(u32)] PAGE_ALIGNED;
static u32 page_table[1024] PAGE_ALIGNED;

/* The window's linear address of `data`, when a large page maps what lies at 0 there. */
static u32 in_window(void)
{
    return WINDOW | address_of(data);
}

/* The RAM that has the window's addresses: what L2 sees there without paging, and L1 always. */
static volatile u32 *ram_of_window(u32 offset)
{
    return (volatile u32 *)(WINDOW + offset);
}

static void real_address_mode(bool set)
{
    if (!set)
        l2_real_mode();
}

static void use_data(bool set)
{
    (void)set;
    l2_registers.ebx = address_of(data);
}

/* 32-bit paging, on, with `pde` for the window. */
static void map_window(u32 pde)
{
    l2_use_32_bit_paging();
    l2_tables.directory[PDE_OF_WINDOW] = pde;
    l2_registers.ebx = in_window();
}

static void paging(bool set)
{
    data[0] = HIGH_DATA;
    *ram_of_window(address_of(data)) = LOW_DATA;
    map_window(PTE_LARGE | PTE_WRITABLE | PTE_PRESENT);
    (void)set; /* CR0.PG is the bit */
}

/* Accessed and dirty beforehand: Bochs 3.0 with CET panics when it sets the dirty flag of a read-only page. */
static void read_only_window(bool set)
{
    (void)set;
    map_window(PTE_LARGE | PTE_DIRTY | PTE_ACCESSED | PTE_PRESENT);
    l2_turn_paging_on();
}

static void user_window(bool set)
{
    (void)set;
    *(u8 *)data = RET;
    map_window(PTE_LARGE | PTE_USER | PTE_PRESENT);
    l2_turn_paging_on();
}

/* The window's PDE has PS=1: a 4 MiB page, or without PSE the address of a page table. Everything else that L2 uses is
   mapped by a page table. */
static void page_size_extensions(bool set)
{
    (void)set;
    data[0] = LOW_DATA;
    *ram_of_window(address_of(data)) = HIGH_DATA;
    *ram_of_window(address_of(data) / PAGE_SIZE * sizeof(u32)) = address_of(data) | PTE_PRESENT;
    map_window(WINDOW | PTE_LARGE | PTE_PRESENT);
    for (u32 page = 0; page < ARRAY_SIZE(page_table); page++)
        page_table[page] = page * PAGE_SIZE | PTE_WRITABLE | PTE_PRESENT;
    l2_tables.directory[0] = address_of(page_table) | PTE_WRITABLE | PTE_PRESENT;
    l2_turn_paging_on();
}

/* 32-bit paging shows other data in the window than PAE paging. */
static void address_extension(bool set)
{
    *ram_of_window(address_of(data)) = HIGH_DATA;
    data[0] = LOW_DATA;
    map_window(PTE_LARGE | PTE_PRESENT);
    if (set)
        l2_use_pae_paging();
    l2_turn_paging_on();
}

#define CR0_EFFECT(name, ...) const struct effect effect_##name = { .cr = &cr0, .another = CR0_AM, __VA_ARGS__ }
#define CR4_EFFECT(name, ...) const struct effect effect_##name = { .cr = &cr4, .another = CR4_MCE, __VA_ARGS__ }
CR0_EFFECT(pe, .bit = CR0_PE, .another_of_msw = CR0_MP, .code = &loads_selector, .stage = real_address_mode,
           .when_set = VECTOR_GP);
CR0_EFFECT(mp, .bit = CR0_MP, .with = CR0_TS, .another_of_msw = CR0_EM, .code = &waits, .when_set = VECTOR_NM);
CR0_EFFECT(em, .bit = CR0_EM, .another_of_msw = CR0_MP, .code = &initializes_fpu, .when_set = VECTOR_NM);
CR0_EFFECT(ts, .bit = CR0_TS, .another_of_msw = CR0_MP, .code = &initializes_fpu, .when_set = VECTOR_NM);
CR0_EFFECT(wp, .bit = CR0_WP, .code = &writes, .stage = read_only_window, .when_set = VECTOR_PF);
CR0_EFFECT(pg, .bit = CR0_PG, .code = &reads, .stage = paging, .when_clear = LOW_DATA, .when_set = HIGH_DATA);
const struct effect effect_am = { .cr = &cr0, .bit = CR0_AM, .another = CR0_MP, .code = &reads_unaligned,
                                  .stage = use_data, .when_set = VECTOR_AC };
CR4_EFFECT(tsd, .bit = CR4_TSD, .code = &reads_time, .when_set = VECTOR_GP);
CR4_EFFECT(de, .bit = CR4_DE, .code = &reads_dr4, .when_set = VECTOR_UD);
CR4_EFFECT(pse, .bit = CR4_PSE, .code = &reads, .stage = page_size_extensions, .when_clear = LOW_DATA,
           .when_set = HIGH_DATA);
CR4_EFFECT(pae, .bit = CR4_PAE, .code = &reads, .stage = address_extension, .when_clear = LOW_DATA,
           .when_set = HIGH_DATA);
CR4_EFFECT(osfxsr, .bit = CR4_OSFXSR, .code = &uses_sse, .when_clear = VECTOR_UD);
CR4_EFFECT(osxsave, .bit = CR4_OSXSAVE, .code = &reads_xcr0, .when_clear = VECTOR_UD);
CR4_EFFECT(smep, .bit = CR4_SMEP, .code = &calls, .stage = user_window, .when_set = VECTOR_PF);

void effect_prepare(const struct effect *effect, bool set)
{
    enum vmcs_field field = effect->cr->guest;
    l2_prepare(effect->code->start);
    if (effect->stage)
        effect->stage(set);
    vmcs_write(field, (vmcs_read(field) & ~effect->bit) | (set ? effect->bit : 0) | effect->with);
}

struct shown effect_after(const struct effect *effect, enum writer writer, u32 value)
{
    const struct l2_code *mov = effect->cr->number ? &mov_to_cr4_then : &mov_to_cr0_then;
    l2_registers.eax = value;
    l2_registers.ebp = address_of(effect->code->start);
    struct shown shown = { .effect = NEITHER, .exit = l2_try(writer == BY_LMSW ? &lmsw_then : mov) };
    shown.read = shown.exit.registers.edi;
    if (shown.exit.exception)
        shown.effect = shown.exit.vector;
    else if (executed(&shown.exit, effect->code))
        shown.effect = shown.exit.registers.esi;
    return shown;
}

static void must_keep_value(const struct effect *effect, enum writer writer, enum changes changes, bool set)
{
    static const struct {
        const char *effect, *read, *shadow;
    } fields[] = { { "effect_of_clear_bit", "misread_of_clear_bit", "shadow_of_clear_bit" },
                   { "effect_of_set_bit", "misread_of_set_bit", "shadow_of_set_bit" } };
    u32 another = writer == BY_LMSW ? effect->another_of_msw : effect->another;
    effect_prepare(effect, set);
    u32 written = (vmcs_read(effect->cr->guest) ^ effect->bit) ^ (changes == WITH_ANOTHER ? another : 0);
    own(effect->cr, effect->bit, written & effect->bit);
    struct shown shown = effect_after(effect, writer, written);
    must(fields[set].effect, shown.effect, set ? effect->when_set : effect->when_clear);
    must(fields[set].read, shown.read ^ written, 0);
    noted("mask", effect->bit);
    noted(fields[set].shadow, written & effect->bit);
    if (shown.effect == NEITHER)
        saw_exit(&shown.exit, effect->code->start);
}

void must_keep(const struct effect *effect, enum writer writer, enum changes changes)
{
    must_keep_value(effect, writer, changes, false);
    must_keep_value(effect, writer, changes, true);
}
