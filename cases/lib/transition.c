/* The ground that vectors of L1 run on.

   One page is CR3's in both 32-bit and PAE paging, so that an instruction can go from the one to the other: its first
   32 bytes are the PDPTEs, and the first eight PDEs. PDPTE 0 and PDE 0 point at one page, too: its first 64 bytes are
   PDEs of 2 MiB pages, the rest is the page table of 64 KiB to 4 MiB. The image runs there, one to one, except where a
   MOV to CR4 may change PAE: the accessed flag of a PDE would be a reserved bit of a PDPTE. Then it runs in segments
   whose base is 3 GiB, where PDE 768 and PDPTE 3 map it. */
#include "transition.h"

#include "cpu.h"
#include "feature.h"
#include "mode.h"
#include "paging.h"
#include "trap.h"

enum { HIGH = 3, PROBED = 4 }; /* the GiB with the second map; the PDE of 2 MiB that each PDPTE is tried with */
enum { MARK_FIRST = 0xA11, MARK_OTHER = 0xB22 };
enum { FIRST_PAGE = PROBED << 21, OTHER_PAGE = 6 << 21 };
#define HIGH_BASE ((u32)HIGH << 30)

struct gate_64 {
    u16 offset_low, selector, attributes, offset_middle;
    u32 offset_high, reserved;
};

/* Read and written by transition_entry.S, which knows the names. */
struct transition_in {
    u32 cr0, cr4, cr4_late, cr3, in_64_bit_mode, high, edits, probes;
    const char *instruction;
    u32 unused;
    u64 operand;
    u32 before[8], after[8]; /* the first 32 bytes of CR3's page: to reach the state, and when the instruction runs */
    struct descriptor_pointer idt, gdt, low_gdt;
} transition_in;
struct transition_out {
    u64 cr0, cr4, efer, cr3;
    u32 status, eip, probes[4], captured;
} transition_out;
u32 transition_tables[1024] PAGE_ALIGNED;

static u32 low_map[1024] PAGE_ALIGNED, high_map[1024] PAGE_ALIGNED;
static u64 first_directory[512] PAGE_ALIGNED, other_directory[512] PAGE_ALIGNED, high_directory[512] PAGE_ALIGNED;
static u64 pml4[512] PAGE_ALIGNED, pdpt[512] PAGE_ALIGNED, directory[512] PAGE_ALIGNED;
static struct gate low_idt[EXCEPTIONS], high_idt[EXCEPTIONS];
static struct gate_64 long_idt[EXCEPTIONS];
static u64 home_efer;

extern const char transition_entries[], transition_entries_64[];
extern const char transition_mov_cr0[], transition_mov_cr4[], transition_mov_cr3[], transition_wrmsr[],
    transition_lmsw[], transition_clts[];
extern const char transition_mov_cr0_64[], transition_mov_cr4_64[], transition_mov_cr3_64[], transition_wrmsr_64[],
    transition_lmsw_64[], transition_clts_64[];
void transition_go(void);

static const char *const instructions[] = { transition_mov_cr0, transition_mov_cr4, transition_wrmsr,
                                            transition_lmsw,    transition_clts,    transition_mov_cr3 };
static const char *const instructions_64[] = { transition_mov_cr0_64, transition_mov_cr4_64, transition_wrmsr_64,
                                               transition_lmsw_64,    transition_clts_64,    transition_mov_cr3_64 };

const char *transition_lacking(void)
{
    static const struct feature needed[] = { FEATURE_PSE, FEATURE_PAE, FEATURE_LONG_MODE };
    for (u32 at = 0; at < ARRAY_SIZE(needed); at++)
        if (!has(needed[at]))
            return needed[at].absent;
    return NULL;
}

struct vector_facts transition_facts(void)
{
    static const struct {
        u32 bits;
        struct feature feature;
    } features[] = {
        { CR4_VME | CR4_PVI, FEATURE_VME }, { CR4_TSD, FEATURE_TSC },           { CR4_DE, FEATURE_DE },
        { CR4_PSE, FEATURE_PSE },           { CR4_PAE, FEATURE_PAE },           { CR4_MCE, FEATURE_MCE },
        { CR4_PGE, FEATURE_PGE },           { CR4_OSFXSR, FEATURE_FXSR },       { CR4_OSXMMEXCPT, FEATURE_SSE },
        { CR4_UMIP, FEATURE_UMIP },         { CR4_LA57, FEATURE_LA57 },         { CR4_VMXE, FEATURE_VMX },
        { CR4_SMXE, FEATURE_SMX },          { CR4_FSGSBASE, FEATURE_FSGSBASE }, { CR4_PCIDE, FEATURE_PCID },
        { CR4_OSXSAVE, FEATURE_XSAVE },     { CR4_KL, FEATURE_KEY_LOCKER },     { CR4_SMEP, FEATURE_SMEP },
        { CR4_SMAP, FEATURE_SMAP },         { CR4_PKE, FEATURE_PKU },           { CR4_CET, FEATURE_CET_SS },
        { CR4_CET, FEATURE_CET_IBT },       { CR4_PKS, FEATURE_PKS },           { CR4_UINTR, FEATURE_UINTR },
    };
    struct vector_facts facts = { .cr4_supported = CR4_PCE, .efer_supported = EFER_SCE | EFER_LME | EFER_LMA };
    for (u32 at = 0; at < ARRAY_SIZE(features); at++)
        if (has(features[at].feature))
            facts.cr4_supported |= features[at].bits;
    if (has(FEATURE_NX))
        facts.efer_supported |= EFER_NXE;
    facts.physical_address_bits = physical_address_bits();
    return facts;
}

/* 2 MiB pages one to one, 16 MiB of them. */
static void map_2_mib(u64 *entries)
{
    for (u32 page = 0; page < 8; page++)
        entries[page] = (u64)page << 21 | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
}

static void fill_tables(void)
{
    for (u32 page = 0; page < 1024; page++)
        low_map[page] = high_map[page] = page * PAGE_SIZE | PTE_WRITABLE | PTE_PRESENT;
    map_2_mib((u64 *)low_map);
    map_2_mib(high_directory);
    map_2_mib(directory);
    first_directory[PROBED] = FIRST_PAGE | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
    other_directory[PROBED] = OTHER_PAGE | PTE_LARGE | PTE_WRITABLE | PTE_PRESENT;
    transition_tables[HIGH << 8] = address_of(high_map) | PTE_WRITABLE | PTE_PRESENT;
    pml4[0] = address_of(pdpt) | PTE_WRITABLE | PTE_PRESENT;
    pdpt[0] = address_of(directory) | PTE_WRITABLE | PTE_PRESENT;
    *(volatile u32 *)FIRST_PAGE = MARK_FIRST;
    *(volatile u32 *)OTHER_PAGE = MARK_OTHER;
}

static void fill_idts(void)
{
    idt_fill(low_idt, EXCEPTIONS, transition_entries);
    idt_fill(high_idt, EXCEPTIONS, transition_entries);
    for (u32 vector = 0; vector < EXCEPTIONS; vector++) {
        u32 entry = address_of(transition_entries_64) + vector * EXCEPTION_ENTRY_BYTES;
        high_idt[vector].selector = SELECTOR_HIGH_CODE;
        long_idt[vector] =
            (struct gate_64){ (u16)entry, SELECTOR_CODE_64, low_idt[vector].attributes, (u16)(entry >> 16), 0, 0 };
    }
}

void transition_start(void)
{
    mode_enter((struct mode){ (read_cr0() & ~(CR0_PG | CR0_WP | CR0_CD | CR0_NW)) | CR0_NE, 0, 0 });
    home_efer = read_msr(IA32_EFER);
    fill_tables();
    fill_idts();
    gdt_write(SELECTOR_HIGH_CODE, 0xC0CF9B000000FFFF);
    gdt_write(SELECTOR_HIGH_DATA, 0xC0CF93000000FFFF);
    transition_in.gdt = transition_in.low_gdt = read_gdtr();
    transition_in.gdt.base += HIGH_BASE;
}

void transition_end(void)
{
    idt_load();
    tss_load(); /* its descriptor, as IA-32e mode may have changed what TR has */
    mode_leave();
}

/* A PDPTE of a vector, with the address of the table that it means. */
static u64 pdpte(u64 word, u64 first)
{
    u64 other = word & VECTOR_OTHER_TABLE ? address_of(other_directory) : first;
    return (word & ~(u64)VECTOR_OTHER_TABLE) | other;
}

static void set_tables(const struct vector *vector, u32 family)
{
    const u32 first[] = { address_of(low_map), address_of(first_directory), address_of(first_directory),
                          address_of(high_directory) };
    struct transition_in *in = &transition_in;
    for (u32 entry = 0; entry < 4; entry++) {
        u64 after = family == FAMILY_PDPTE_LOADS ? pdpte(vector->words[WORD_PDPTES + entry], first[entry])
                                                 : first[entry] | PTE_PRESENT;
        in->before[2 * entry] = first[entry] | PTE_PRESENT;
        in->before[2 * entry + 1] = 0;
        in->after[2 * entry] = (u32)after;
        in->after[2 * entry + 1] = (u32)(after >> 32);
    }
    /* The image writes to its memory. Where PAE may come, it does that in the high segments. */
    if ((vector->base == BASE_32_BIT_PAGING && !in->high) || vector->base == BASE_UNPAGED)
        in->before[0] |= PTE_WRITABLE;
    for (u32 at = 0; at < 8; at++)
        transition_tables[at] = in->before[at];
}

static u32 probed(u32 seen)
{
    if (seen >> 31)
        return PROBE_FAULT | (seen >> 8 & 0x7F00) | (seen & 0xFF);
    return seen == MARK_FIRST ? PROBE_FIRST_TABLE : seen == MARK_OTHER ? PROBE_OTHER_TABLE : PROBE_ELSEWHERE;
}

static void report(u32 tables, struct vector_outcome *outcome)
{
    const struct transition_out *out = &transition_out;
    u64 probes = 0;
    for (u32 entry = 0; entry < 4 && out->probes[0] != ~0u; entry++)
        probes |= (u64)probed(out->probes[entry]) << 16 * entry;
    outcome->words[OUTCOME_STATUS] = out->status;
    outcome->words[OUTCOME_EIP] = out->status ? out->eip - address_of(transition_in.instruction) : 0;
    outcome->words[OUTCOME_CR0] = (u32)out->cr0;
    outcome->words[OUTCOME_CR4] = (u32)out->cr4;
    outcome->words[OUTCOME_EFER] = out->efer;
    outcome->words[OUTCOME_CR3] = out->cr3 - tables;
    outcome->words[OUTCOME_PROBES] = probes;
    outcome->words[OUTCOME_HIGH] = (out->cr4 & ~(u64)0xFFFFFFFF) | out->cr0 >> 32;
}

void transition_run(const struct vector *vector, u32 family, struct vector_outcome *outcome)
{
    struct transition_in *in = &transition_in;
    bool with_lme = vector->words[WORD_EFER] & EFER_LME, is_64 = vector->base == BASE_64_BIT_MODE;
    u32 cr4 = (u32)vector->words[WORD_CR4];
    u32 tables = with_lme ? address_of(pml4) : address_of(transition_tables);
    in->high = vector->op == OP_MOV_CR4 && (vector->base == BASE_32_BIT_PAGING || vector->base == BASE_PAE_PAGING);
    in->edits = vector->base == BASE_PAE_PAGING || in->high;
    in->probes = family == FAMILY_PDPTE_LOADS;
    in->cr0 = (u32)vector->words[WORD_CR0];
    in->cr4 = cr4 & ~CR4_PCIDE;
    in->cr4_late = cr4 & CR4_PCIDE ? cr4 : 0;
    in->cr3 = tables | (u32)vector->words[WORD_CR3_LOW];
    in->in_64_bit_mode = is_64;
    in->operand = vector->op == OP_MOV_CR3 ? tables | vector->words[WORD_OPERAND] : vector->words[WORD_OPERAND];
    in->instruction = (is_64 ? instructions_64 : instructions)[vector->op];
    set_tables(vector, family);
    if (!in->edits)
        for (u32 at = 0; at < 8 && vector->base == BASE_UNPAGED_PAE; at++)
            transition_tables[at] = in->after[at];
    in->idt = in->high                             ? (struct descriptor_pointer){ sizeof high_idt - 1,
                                                                                 address_of(high_idt) + HIGH_BASE }
              : vector->base >= BASE_COMPATIBILITY_MODE
                  ? (struct descriptor_pointer){ sizeof long_idt - 1, address_of(long_idt) }
                  : (struct descriptor_pointer){ sizeof low_idt - 1, address_of(low_idt) };
    write_idtr(&(struct descriptor_pointer){ sizeof low_idt - 1, address_of(low_idt) });
    transition_out = (struct transition_out){ .probes = { ~0u } };
    if (vector->words[WORD_EFER] != home_efer)
        write_msr(IA32_EFER, vector->words[WORD_EFER]);
    transition_go();
    if (read_cr4())
        write_cr4(0);
    if (transition_out.efer != home_efer)
        write_msr(IA32_EFER, home_efer);
    report(tables, outcome);
}
