/* Guest segment registers: VM entry fails with exit reason 33 when one of their fields is not as it must be. */
#include "l1_mode.h"
#include "stage.h"

enum { ES, CS, SS, DS, FS, GS, LDTR, TR }; /* the order of the fields */
enum { TYPE = 0xF, CODE_OR_DATA = 1 << 4, DPL_SHIFT = 5, PRESENT = 1 << 7, GRANULARITY = 1 << 15, UNUSABLE = 1 << 16 };
enum { LONG = 1 << 13, BIG = 1 << 14, TABLE_INDICATOR = 1 << 2, LDT = 0x82, BUSY_TSS_16 = 3, BUSY_TSS = 11 };
#define RESERVED (BITS(8, 11) | BITS(17, 31))

static u32 selector_of(u32 segment)
{
    return GUEST_ES_SELECTOR + segment * FIELD_STEP;
}

static u32 limit_of(u32 segment)
{
    return GUEST_ES_LIMIT + segment * FIELD_STEP;
}

static u32 rights_of(u32 segment)
{
    return GUEST_ES_ACCESS_RIGHTS + segment * FIELD_STEP;
}

static u32 base_of(u32 segment)
{
    return GUEST_ES_BASE + segment * FIELD_STEP;
}

static void sweep_types(struct tally *tally, u32 segment, u32 allowed)
{
    u32 rights = vmcs_read(rights_of(segment)) & ~TYPE;
    for (u64 type = 0; type <= TYPE; type++)
        SWEEP_VALUES(tally, rights_of(segment), allowed >> type & 1 ? ENTRY_RAN : GUEST_REFUSED, rights | type);
}

static void sweep_rights(struct tally *tally, u32 segment, u64 bits)
{
    sweep_bits(tally, rights_of(segment), kept_bits(rights_of(segment), bits), GUEST_REFUSED);
}

static void usable_ldtr(void)
{
    vmcs_write(GUEST_LDTR_SELECTOR, SELECTOR_SPARE);
    vmcs_write(GUEST_LDTR_BASE, 0);
    vmcs_write(GUEST_LDTR_LIMIT, 0xFF);
    vmcs_write(GUEST_LDTR_ACCESS_RIGHTS, LDT);
}

static void without_unrestricted_guest(void)
{
    entry_prepare();
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, UNRESTRICTED_GUEST, "unrestricted guest cannot be off");
}

CHECK(code_types, "E-28/cs-type", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for each type of CS but accessed code, and for type 3 without unrestricted guest")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_types(&tally, CS, 1 << 3 | 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15);
    without_unrestricted_guest();
    sweep_types(&tally, CS, 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15);
    must_tally(&tally);
}

CHECK(stack_types, "E-28/ss-type", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for each type of a usable SS but accessed writable data")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_types(&tally, SS, 1 << 3 | 1 << 7);
    must_tally(&tally);
}

CHECK(data_types, "E-28/data-type", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for each type of a usable DS, ES, FS or GS that is not accessed, or code that is not readable")
{
    static const u32 segments[] = { ES, DS, FS, GS };
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(segments); index++)
        sweep_types(&tally, segments[index], 1 << 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 11 | 1 << 15);
    must_tally(&tally);
}

CHECK(rights, "E-28/rights", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for a segment register without S or P, or with a reserved bit of its access rights")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 segment = ES; segment <= GS; segment++)
        sweep_rights(&tally, segment, CODE_OR_DATA | PRESENT | RESERVED);
    must_tally(&tally);
}

CHECK(unusable, "E-28/control-unusable", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "Control: VM entry succeeds with any limit and access rights, SS.DPL excepted, of registers that are unusable")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 segment = ES; segment <= LDTR; segment++)
        if (segment != CS) {
            vmcs_write(limit_of(segment), 0x80000000);
            vmcs_write(rights_of(segment), UNUSABLE | 0xFF9F);
            tally_turn(&tally, segment, entry_try(), ENTRY_RAN);
        }
    must_tally(&tally);
}

CHECK(granularity, "E-28/limit", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for a limit that does not go with the G flag, in each bit and each segment register")
{
    struct tally tally = { 0 };
    entry_prepare();
    usable_ldtr();
    for (u32 segment = ES; segment <= TR; segment++) {
        u32 rights = vmcs_read(rights_of(segment)), limit = vmcs_read(limit_of(segment));
        vmcs_write(rights_of(segment), rights | GRANULARITY);
        vmcs_write(limit_of(segment), 0xFFFFFFFF);
        sweep_bits(&tally, limit_of(segment), BITS(0, 11), GUEST_REFUSED);
        vmcs_write(rights_of(segment), rights & ~(u32)GRANULARITY);
        vmcs_write(limit_of(segment), 0xFFFFF);
        sweep_bits(&tally, limit_of(segment), BITS(20, 31), GUEST_REFUSED);
        vmcs_write(limit_of(segment), limit);
        vmcs_write(rights_of(segment), rights);
    }
    must_tally(&tally);
}

CHECK(stack_rpl, "E-28/ss-rpl", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry without unrestricted guest fails for SS with another RPL than CS, or than its DPL")
{
    struct tally tally = { 0 };
    without_unrestricted_guest();
    for (u64 rpl = 1; rpl < 4; rpl++)
        SWEEP_VALUES(&tally, GUEST_SS_SELECTOR, GUEST_REFUSED, SELECTOR_DATA | rpl);
    vmcs_write(GUEST_CS_SELECTOR, SELECTOR_CODE | 3);
    SWEEP_VALUES(&tally, GUEST_SS_SELECTOR, GUEST_REFUSED, SELECTOR_DATA | 3, SELECTOR_DATA);
    entry_prepare();
    for (u64 rpl = 1; rpl < 4; rpl++)
        SWEEP_VALUES(&tally, GUEST_SS_SELECTOR, ENTRY_RAN, SELECTOR_DATA | rpl);
    must_tally(&tally);
}

CHECK(stack_dpl, "E-28/ss-dpl", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for SS.DPL that is not 0 when CR0.PE=0 or CS has type 3")
{
    struct tally tally = { 0 };
    entry_prepare();
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, (vmcs_read(GUEST_CS_ACCESS_RIGHTS) & ~TYPE) | 3);
    sweep_bits(&tally, GUEST_SS_ACCESS_RIGHTS, BITS(DPL_SHIFT, DPL_SHIFT + 1), GUEST_REFUSED);
    sweep_bits(&tally, GUEST_CS_ACCESS_RIGHTS, BITS(DPL_SHIFT, DPL_SHIFT + 1), GUEST_REFUSED);
    entry_prepare();
    l2_real_mode();
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, vmcs_read(GUEST_CS_ACCESS_RIGHTS) | 0xF); /* conforming: its DPL may be below */
    sweep_bits(&tally, GUEST_SS_ACCESS_RIGHTS, BITS(DPL_SHIFT, DPL_SHIFT + 1), GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(task, "E-28/tr", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for TR that is no busy TSS, with S, without P, unusable, from the LDT, or with reserved bits")
{
    struct tally tally = { 0 };
    entry_prepare();
    sweep_types(&tally, TR, 1 << BUSY_TSS_16 | 1 << BUSY_TSS);
    sweep_rights(&tally, TR, CODE_OR_DATA | PRESENT | UNUSABLE | RESERVED);
    sweep_bits(&tally, GUEST_TR_SELECTOR, TABLE_INDICATOR, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(local, "E-28/ldtr", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for a usable LDTR that is no LDT, with S, without P, from the LDT, or with reserved bits")
{
    struct tally tally = { 0 };
    entry_prepare();
    usable_ldtr();
    sweep_types(&tally, LDTR, 1 << 2);
    sweep_rights(&tally, LDTR, CODE_OR_DATA | PRESENT | RESERVED);
    sweep_bits(&tally, GUEST_LDTR_SELECTOR, TABLE_INDICATOR, GUEST_REFUSED);
    must_tally(&tally);
}

CHECK(bases, "E-28/base", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry fails for each of bits 63:32 of the base of CS, SS, DS and ES, and for others that are not canonical")
{
    struct tally tally = { 0 };
    entry_prepare();
    l1_in_64_bit_mode();
    usable_ldtr();
    for (u32 segment = ES; segment <= DS; segment++)
        sweep_bits(&tally, base_of(segment), BITS(32, 63), GUEST_REFUSED);
    for (u32 segment = FS; segment <= TR; segment++)
        sweep_bits(&tally, base_of(segment), beyond_linear_addresses(), GUEST_REFUSED);
    for (u32 segment = FS; segment <= LDTR; segment++)
        SWEEP_VALUES(&tally, base_of(segment), ENTRY_RAN, CANONICAL_HIGH);
    must_tally(&tally);
}

CHECK(ia32e, "E-28/ia32e-mode", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry of a guest in IA-32e mode fails for TR with type 3, and for CS with both L and D")
{
    struct tally tally = { 0 };
    entry_prepare();
    in_ia32e_mode();
    sweep_types(&tally, TR, 1 << BUSY_TSS);
    sweep_bits(&tally, GUEST_CS_ACCESS_RIGHTS, LONG, GUEST_REFUSED);
    vmcs_write(GUEST_CS_ACCESS_RIGHTS, vmcs_read(GUEST_CS_ACCESS_RIGHTS) ^ (LONG | BIG));
    tally_turn(&tally, 0, entry_try(), ENTRY_RAN);
    must_tally(&tally);
}

/* Virtual-8086 mode: all of a segment register follows from its selector. */
enum { RFLAGS_VM = 1 << 17, VIRTUAL_8086_RIGHTS = 0xF3 };

CHECK(virtual_8086, "E-28/virtual-8086", NEEDS_L2, SDM_GUEST_SEGMENTS,
      "VM entry to virtual-8086 mode fails for each other bit of base, limit and access rights of a segment register")
{
    struct tally tally = { 0 };
    entry_prepare();
    u32 rip = vmcs_read(GUEST_RIP);
    vmcs_write(GUEST_RIP, rip & 0xF);
    vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | RFLAGS_VM);
    for (u32 segment = ES; segment <= GS; segment++) {
        u32 selector = segment == CS ? rip >> 4 : 0x1000 + segment;
        vmcs_write(selector_of(segment), selector);
        vmcs_write(base_of(segment), selector << 4);
        vmcs_write(limit_of(segment), 0xFFFF);
        vmcs_write(rights_of(segment), VIRTUAL_8086_RIGHTS);
    }
    for (u32 segment = ES; segment <= GS; segment++) {
        sweep_bits(&tally, base_of(segment), BITS(0, 31), GUEST_REFUSED);
        sweep_bits(&tally, limit_of(segment), BITS(0, 31), GUEST_REFUSED);
        sweep_rights(&tally, segment, BITS(0, 31));
    }
    must_tally(&tally);
}
