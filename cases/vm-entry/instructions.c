/* The VMX instructions that work on a VMCS: how each fails, and which fields exist. */
#include "stage.h"

#define SDM_ERRORS "VM Instruction Error Numbers (Vol. 3, 31.4)"
#define SDM_FIELDS "VMREAD, VMWRITE (Vol. 3, 31.3); Field Encoding in VMCS (Vol. 3, appendix B)"
enum {
    VMCLEAR_ADDRESS = 2,
    VMCLEAR_VMXON_POINTER = 3,
    VMPTRLD_ADDRESS = 9,
    VMPTRLD_VMXON_POINTER = 10,
    VMPTRLD_REVISION = 11,
    UNSUPPORTED_COMPONENT = 12,
    READ_ONLY_COMPONENT = 13,
    VMXON_IN_ROOT = 15,
    INVALID_OPERAND = 28,
};

static u32 other_vmcs[PAGE_SIZE / 4] PAGE_ALIGNED;

/* In turn, the address with each bad bit: of its alignment, or beyond the physical addresses. */
static void must_refuse_addresses(u32 (*instruction)(u64 region), u32 error)
{
    struct tally tally = { 0 };
    entry_prepare();
    other_vmcs[0] = vmx_revision();
    u64 address = address_of(other_vmcs), bad = BITS(0, 11) | beyond_physical_addresses();
    for (u64 bit = 1; bit; bit <<= 1)
        if (bad & bit)
            tally_turn(&tally, address | bit, instruction(address | bit), error);
    tally_turn(&tally, address, instruction(address), VM_SUCCEED);
    vmx_vmclear(address);
    must_tally(&tally);
}

CHECK(vmclear, "E-33/vmclear-address", NEEDS_L2, SDM_ERRORS,
      "VMCLEAR fails with error 2 for an address that is not aligned or beyond the physical-address width")
{
    must_refuse_addresses(vmx_vmclear, VMCLEAR_ADDRESS);
}

CHECK(vmptrld, "E-33/vmptrld-address", NEEDS_L2, SDM_ERRORS,
      "VMPTRLD fails with error 9 for an address that is not aligned or beyond the physical-address width")
{
    must_refuse_addresses(vmx_vmptrld, VMPTRLD_ADDRESS);
}

CHECK(vmxon_pointer, "E-33/vmxon-pointer", NEEDS_L2, SDM_ERRORS,
      "VMCLEAR fails with error 3 and VMPTRLD with error 10 for the VMXON pointer")
{
    entry_prepare();
    must("vmclear", vmx_vmclear(vmx_regions().vmxon), VMCLEAR_VMXON_POINTER);
    must("vmptrld", vmx_vmptrld(vmx_regions().vmxon), VMPTRLD_VMXON_POINTER);
    must_enter();
}

CHECK(revision, "E-33/vmptrld-revision", NEEDS_L2, SDM_ERRORS,
      "VMPTRLD fails with error 11 for a region with another revision identifier, and the current VMCS stays")
{
    struct tally tally = { 0 };
    bool shadowing = vmcs_allowed_controls(SECONDARY_PROCESSOR_BASED_CONTROLS) >> 32 & VMCS_SHADOWING;
    entry_prepare();
    for (u32 bit = 0; bit < (shadowing ? 31 : 32); bit++) {
        other_vmcs[0] = vmx_revision() ^ 1u << bit;
        tally_turn(&tally, 1u << bit, vmx_vmptrld(address_of(other_vmcs)), VMPTRLD_REVISION);
    }
    u64 current = 0;
    vmx_vmptrst(&current);
    must("current_vmcs", current, vmx_regions().vmcs);
    must_tally(&tally);
}

CHECK(vmxon, "E-33/vmxon-in-root", NEEDS_L2, SDM_ERRORS, "VMXON in VMX root operation fails with error 15")
{
    entry_prepare();
    must_vmfail(vmx_vmxon(vmx_regions().vmxon), VMXON_IN_ROOT);
}

CHECK(current, "E-33/current-vmcs", NEEDS_L2, "VMCLEAR, VMPTRST (Vol. 3, 31.3)",
      "VMCLEAR of the current VMCS leaves none: VMPTRST stores all ones, VMREAD and VMWRITE end in VMfailInvalid")
{
    u64 pointer = 0, value;
    entry_prepare();
    must("vmptrst", vmx_vmptrst(&pointer), VM_SUCCEED);
    must("current_vmcs", pointer, vmx_regions().vmcs);
    vmx_clear_vmcs();
    must("vmptrst_again", vmx_vmptrst(&pointer), VM_SUCCEED);
    must("current_vmcs_after_vmclear", pointer, ~(u64)0);
    must("vmread", vmx_vmread(GUEST_RIP, &value), VM_FAIL_INVALID);
    must("vmwrite", vmx_vmwrite(GUEST_RIP, 0), VM_FAIL_INVALID);
}

static const u32 fields[] = {
#define FIELD_OF_TABLE(name, width, type, index) name,
    VMCS_FIELDS(FIELD_OF_TABLE)
};

CHECK(keep, "E-33/fields", NEEDS_L2, SDM_FIELDS,
      "VMREAD reads of each field what VMWRITE wrote to it, after all others were written, too")
{
    static u32 written[ARRAY_SIZE(fields)];
    struct tally tally = { 0 };
    u32 missing = 0;
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++) {
        bool read_only = FIELD_TYPE(fields[index]) == FIELD_EXIT;
        written[index] = !read_only && vmx_vmwrite(fields[index], index + 1) == VM_SUCCEED;
        missing += !read_only && !written[index];
    }
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++)
        if (written[index])
            tally_turn(&tally, fields[index], vmcs_read(fields[index]), index + 1);
    noted("missing_fields", missing);
    must_tally(&tally);
}

CHECK(high, "E-33/high-halves", NEEDS_L2, SDM_FIELDS,
      "VMWRITE to the high half of each 64-bit field sets bits 63:32 and no others")
{
    struct tally tally = { 0 };
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++) {
        u32 field = fields[index];
        if (FIELD_WIDTH(field) != FIELD_64 || FIELD_TYPE(field) == FIELD_EXIT ||
            vmx_vmwrite(field, 0x5A000 | index) != VM_SUCCEED)
            continue;
        vmx_vmwrite(field + 1, 0xA5000 | index);
        tally_turn(&tally, field, vmcs_read64(field), (u64)(0xA5000 | index) << 32 | 0x5A000 | index);
    }
    must_tally(&tally);
}

CHECK(unsupported, "E-33/unsupported", NEEDS_L2, SDM_ERRORS,
      "Error 12 is what VMREAD and VMWRITE return for fields beyond the highest index and for reserved bits")
{
    static const u32 none[] = { FIELD_ENCODING(FIELD_16, FIELD_GUEST, 0x1FF),
                                FIELD_ENCODING(FIELD_64, FIELD_HOST, 0x1FF),
                                FIELD_ENCODING(FIELD_32, FIELD_CONTROL, 0x1FF), GUEST_ES_SELECTOR | 1,
                                GUEST_RIP | 1, GUEST_RIP | 1 << 12, GUEST_RIP | 1 << 15, GUEST_RIP | 1u << 31 };
    struct tally tally = { 0 };
    u64 value;
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(none); index++) {
        tally_turn(&tally, none[index], vmx_vmread(none[index], &value), UNSUPPORTED_COMPONENT);
        tally_turn(&tally, none[index], vmx_vmwrite(none[index], 0), UNSUPPORTED_COMPONENT);
    }
    must_tally(&tally);
}

CHECK(read_only, "E-33/read-only", NEEDS_L2, SDM_ERRORS,
      "VMWRITE to each VM-exit information field that exists fails with error 13, or succeeds where the CPU reports it")
{
    struct tally tally = { 0 };
    bool writable = read_msr(IA32_VMX_MISC) >> 29 & 1;
    u64 value;
    entry_prepare();
    for (u32 index = 0; index < ARRAY_SIZE(fields); index++)
        if (FIELD_TYPE(fields[index]) == FIELD_EXIT && vmx_vmread(fields[index], &value) == VM_SUCCEED)
            tally_turn(&tally, fields[index], vmx_vmwrite(fields[index], 0),
                       writable ? VM_SUCCEED : READ_ONLY_COMPONENT);
    must_tally(&tally);
}

CHECK(invept, "E-33/invept", NEEDS_L2, "INVEPT (Vol. 3, 31.3)",
      "INVEPT fails with error 28 for each type that the CPU does not report")
{
    struct tally tally = { 0 };
    entry_prepare();
    struct invept_descriptor descriptor = { vmcs_read64(EPT_POINTER), 0 };
    for (u32 type = 0; type < 8; type++) {
        bool has = (type == 1 || type == 2) && ept_capabilities() >> (24 + type) & 1;
        tally_turn(&tally, type, vmx_invept(type, &descriptor), has ? VM_SUCCEED : INVALID_OPERAND);
    }
    must_tally(&tally);
}

CHECK(invvpid, "E-33/invvpid", NEEDS_L2, "INVVPID (Vol. 3, 31.3)",
      "INVVPID fails with error 28 for each type that the CPU does not report, for VPID 0 and for reserved bits")
{
    struct tally tally = { 0 };
    entry_prepare();
    if (!(ept_capabilities() >> 32 & 1))
        skip("no INVVPID");
    struct invvpid_descriptor descriptor = { 1, 0 }, zero = { 0, 0 };
    for (u32 type = 0; type < 8; type++) {
        bool has = type < 4 && ept_capabilities() >> (40 + type) & 1;
        tally_turn(&tally, type, vmx_invvpid(type, &descriptor), has ? VM_SUCCEED : INVALID_OPERAND);
        if (has && type != 2)
            tally_turn(&tally, type, vmx_invvpid(type, &zero), INVALID_OPERAND);
        for (u64 bit = 1u << 16; has && bit; bit <<= 1)
            tally_turn(&tally, bit | 1, vmx_invvpid(type, &(struct invvpid_descriptor){ bit | 1, 0 }), INVALID_OPERAND);
    }
    must_tally(&tally);
}
