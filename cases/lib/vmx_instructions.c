#include "vmx_instructions.h"

#include "record.h"
#include "vmcs_fields.h"
#include "vmcs.h"

enum { ARITHMETIC_FLAGS = 0x8D5, CARRY_FLAG = 1 << 0, ZERO_FLAG = 1 << 6 };

extern const char vm_exit_entry[], vm_exit_entry_64[];
u32 vm_enter(u32 instruction, struct general_registers *registers);
u32 vm_enter_64(u32 instruction, struct general_registers *registers);

/* Run a 64-bit routine with RAX = `first` and RDX = `second`; the flags that it leaves. */
u32 vmx_call_64(const char *routine, u32 first, u32 second);
extern const char vmxon_64[], vmxoff_64[], vmclear_64[], vmptrld_64[], vmptrst_64[], vmread_64[], vmwrite_64[],
    invept_64[], invvpid_64[];

static bool in_64_bit_code;

void vmx_use_64_bit_code(bool use)
{
    in_64_bit_code = use;
}

bool vmx_uses_64_bit_code(void)
{
    return in_64_bit_code;
}

static u32 vmread_flags(u32 field, u64 *value)
{
    u32 low = 0, flags;
    if (in_64_bit_code)
        return vmx_call_64(vmread_64, field, address_of(value));
    asm volatile("vmread %2, %1; pushfl; popl %0" : "=r"(flags), "+r"(low) : "r"(field) : "cc");
    *value = low;
    return flags;
}

static u32 outcome(u32 flags)
{
    u64 error = 0;
    switch (flags & ARITHMETIC_FLAGS) {
    case 0:
        return VM_SUCCEED;
    case CARRY_FLAG:
        return VM_FAIL_INVALID;
    case ZERO_FLAG:
        vmread_flags(VM_INSTRUCTION_ERROR, &error);
        return (u32)error;
    default:
        return VM_ODD_FLAGS | (flags & ARITHMETIC_FLAGS);
    }
}

u32 vmx_vmread(u32 field, u64 *value)
{
    return outcome(vmread_flags(field, value));
}

u32 vmx_vmwrite(u32 field, u64 value)
{
    u32 flags;
    if (in_64_bit_code)
        return outcome(vmx_call_64(vmwrite_64, field, address_of(&value)));
    asm volatile("vmwrite %1, %2; pushfl; popl %0" : "=r"(flags) : "r"((u32)value), "r"(field) : "cc");
    return outcome(flags);
}

#define WITH_REGION(name)                                                                        \
    u32 vmx_##name(u64 region)                                                                   \
    {                                                                                            \
        u32 flags;                                                                               \
        if (in_64_bit_code)                                                                      \
            return outcome(vmx_call_64(name##_64, 0, address_of(&region)));                      \
        asm volatile(#name " %1; pushfl; popl %0" : "=r"(flags) : "m"(region) : "cc", "memory"); \
        return outcome(flags);                                                                   \
    }
WITH_REGION(vmclear)
WITH_REGION(vmptrld)

/* Not inlined: the label must be one. */
__attribute__((noinline, noclone)) u32 vmx_vmxon(u64 region)
{
    u32 flags;
    if (in_64_bit_code)
        return outcome(vmx_call_64(vmxon_64, 0, address_of(&region)));
    asm volatile(".globl vmxon_instruction; vmxon_instruction: vmxon %1; pushfl; popl %0"
                 : "=r"(flags)
                 : "m"(region)
                 : "cc", "memory");
    return outcome(flags);
}

void vmx_vmxoff(void)
{
    if (in_64_bit_code)
        vmx_call_64(vmxoff_64, 0, 0);
    else
        asm volatile("vmxoff" : : : "cc");
}

u32 vmx_vmptrst(u64 *region)
{
    u32 flags;
    if (in_64_bit_code)
        return outcome(vmx_call_64(vmptrst_64, 0, address_of(region)));
    asm volatile("vmptrst %1; pushfl; popl %0" : "=r"(flags), "=m"(*region) : : "cc");
    return outcome(flags);
}

#define WITH_DESCRIPTOR(name)                                                                                  \
    u32 vmx_##name(u32 type, const struct name##_descriptor *descriptor)                                       \
    {                                                                                                          \
        u32 flags;                                                                                             \
        if (in_64_bit_code)                                                                                    \
            return outcome(vmx_call_64(name##_64, type, address_of(descriptor)));                              \
        asm volatile(#name " %1, %2; pushfl; popl %0" : "=r"(flags) : "m"(*descriptor), "r"(type) : "cc", "memory"); \
        return outcome(flags);                                                                                 \
    }
WITH_DESCRIPTOR(invept)
WITH_DESCRIPTOR(invvpid)

u32 vmx_enter(enum vm_entry_instruction instruction, struct general_registers *registers)
{
    return outcome(in_64_bit_code ? vm_enter_64(instruction, registers) : vm_enter(instruction, registers));
}

u32 vmx_exit_entry(void)
{
    return address_of(in_64_bit_code ? vm_exit_entry_64 : vm_exit_entry);
}

void must_vmfail(u32 outcome, u32 error)
{
    must("vm_instruction_error", outcome, error);
}
