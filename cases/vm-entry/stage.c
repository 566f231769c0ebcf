#include "stage.h"

void sweep_bits(struct tally *tally, u32 field, u64 bits, u64 required)
{
    u64 base = vmcs_read64(field);
    if (required != ENTRY_RAN)
        tally_turn(tally, base, entry_try(), ENTRY_RAN);
    for (u64 bit = 1; bit; bit <<= 1)
        if (bits & bit) {
            vmcs_write64(field, base ^ bit);
            tally_turn(tally, base ^ bit, entry_try(), required);
        }
    vmcs_write64(field, base);
}

u64 kept_bits(u32 field, u64 bits)
{
    u64 base = vmcs_read64(field);
    vmcs_write64(field, base ^ bits);
    u64 kept = vmcs_read64(field) ^ base;
    vmcs_write64(field, base);
    return kept;
}

void sweep_values(struct tally *tally, u32 field, const u64 *values, u32 count, u64 required)
{
    u64 base = vmcs_read64(field);
    for (u32 index = 0; index < count; index++) {
        vmcs_write64(field, values[index]);
        tally_turn(tally, values[index], entry_try(), required);
    }
    vmcs_write64(field, base);
}

u64 beyond_physical_addresses(void)
{
    return BITS(physical_address_bits(), 63);
}

u64 beyond_linear_addresses(void)
{
    u32 bits = cpuid(0x80000008).eax >> 8 & 0xFF;
    return BITS(bits - 1, 63);
}

u64 fixed_otherwise(u64 value, u32 fixed0, u32 fixed1, u64 but)
{
    u64 must_be_1 = read_msr(fixed0) & ~but, may_be_1 = read_msr(fixed1);
    return (value & must_be_1) | (~value & ~may_be_1);
}

bool is_memory_type(u64 type)
{
    return type < 8 && type != 2 && type != 3;
}

void without_ept(void)
{
    l2_use_32_bit_paging();
    l2_turn_paging_on();
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, ENABLE_EPT | UNRESTRICTED_GUEST, "EPT cannot be off");
}

void in_ia32e_mode(void)
{
    l2_use_4_level_paging();
    vmcs_set_controls(VM_ENTRY_CONTROLS, IA32E_MODE_GUEST, "no guests in IA-32e mode");
    vmcs_write64(GUEST_IA32_EFER, EFER_LME | EFER_LMA);
    vmcs_write(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
}
