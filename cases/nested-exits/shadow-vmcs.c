/* VMREAD and VMWRITE in L2 with VMCS shadowing: the two bitmaps decide, and what does not exit accesses the VMCS that
   the link pointer refers to. */
#include "check.h"
#include "cpu.h"
#include "l2.h"
#include "l2_code.h"
#include "tally.h"
#include "vmx.h"

#define SHADOWING "VMREAD, VMWRITE (Vol. 3, 26.1.3 and 31.3); VMCS Shadowing Bitmap Addresses (25.6.15)"
#define SHADOW_VMCS (1u << 31) /* beside the revision identifier */
enum { READ_BITMAP, WRITE_BITMAP };
enum { CARRY_FLAG = 1, ZERO_FLAG = 1 << 6, ALL_FLAGS = 0x8D5 };

static u32 linked[PAGE_SIZE / 4] PAGE_ALIGNED;
static u8 bitmaps[2][PAGE_SIZE] PAGE_ALIGNED;

/* The field is in EAX, the value in EDX; the flags go to ESI. */
L2_CODE(reads_field, "vmread %eax, %edx; pushfl; popl %esi");
L2_CODE(writes_field, "vmwrite %edx, %eax; pushfl; popl %esi");

static void fill(u8 byte)
{
    for (u32 bitmap = 0; bitmap < 2; bitmap++)
        for (u32 offset = 0; offset < PAGE_SIZE; offset++)
            bitmaps[bitmap][offset] = byte;
}

static void load(u64 region)
{
    if (vmx_vmptrld(region) != VM_SUCCEED)
        problem("VMPTRLD failed");
}

/* L2 with the linked VMCS, whose guest RSP field holds a number. */
static void with_shadowing(const struct l2_code *code, u32 field)
{
    l2_prepare(code->start);
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, VMCS_SHADOWING, "no VMCS shadowing");
    vmcs_write64(VMREAD_BITMAP_ADDRESS, address_of(bitmaps[READ_BITMAP]));
    vmcs_write64(VMWRITE_BITMAP_ADDRESS, address_of(bitmaps[WRITE_BITMAP]));
    vmcs_write64(VMCS_LINK_POINTER, address_of(linked));
    fill(0);
    linked[0] = vmx_revision() | SHADOW_VMCS;
    vmx_vmclear(address_of(linked));
    load(address_of(linked));
    vmx_vmwrite(GUEST_RSP, 0x1357);
    vmx_vmclear(address_of(linked));
    load(vmx_regions().vmcs);
    l2_registers.eax = field;
}

CHECK(read, "vmcs-shadowing/vmread", NEEDS_L2, SHADOWING,
      "VMREAD in L2 with its bit clear in the VMREAD bitmap reads the linked VMCS and causes no exit")
{
    with_shadowing(&reads_field, GUEST_RSP);
    struct vm_exit exit = l2_run();
    must("edx", exit.registers.edx, 0x1357);
    must("flags", exit.registers.esi & ALL_FLAGS, 0);
    must_execute(&exit, &reads_field);
}

CHECK(write, "vmcs-shadowing/vmwrite", NEEDS_L2, SHADOWING,
      "VMWRITE in L2 with its bit clear in the VMWRITE bitmap writes to the linked VMCS, and not to the current one")
{
    with_shadowing(&writes_field, GUEST_CS_LIMIT);
    l2_registers.edx = 0x24680;
    struct vm_exit exit = l2_run();
    u32 current = vmcs_read(GUEST_CS_LIMIT);
    load(address_of(linked));
    u32 written = vmcs_read(GUEST_CS_LIMIT), kept = vmcs_read(GUEST_RSP);
    vmx_vmclear(address_of(linked));
    load(vmx_regions().vmcs);
    must("current_vmcs", current, 0xFFFFFFFF);
    must("linked_vmcs", written, 0x24680);
    must("other_field", kept, 0x1357);
    must("flags", exit.registers.esi & ALL_FLAGS, 0);
    must_execute(&exit, &writes_field);
}

/* A bit of the bitmap of one instruction alone. */
static void each_bit(const struct l2_code *code, u32 bitmap, u32 reason)
{
    static const u32 fields[] = { GUEST_ES_SELECTOR, GUEST_CS_SELECTOR, GUEST_SS_SELECTOR, GUEST_DS_SELECTOR,
                                  GUEST_RSP,         GUEST_RIP,         GUEST_CR3,         EXCEPTION_BITMAP };
    struct tally tally = { 0 };
    with_shadowing(code, 0);
    for (u32 set = 0; set < ARRAY_SIZE(fields); set++) {
        fill(0);
        bitmaps[bitmap][fields[set] / 8] |= (u8)(1u << fields[set] % 8);
        for (u32 accessed = 0; accessed < ARRAY_SIZE(fields); accessed++) {
            l2_registers.eax = fields[accessed];
            struct vm_exit exit = l2_try(code);
            tally_turn(&tally, set << 8 | accessed, exit.reason, set == accessed ? reason : EXIT_VMCALL);
        }
    }
    fill(0);
    must_tally(&tally);
}

CHECK(read_bits, "vmcs-shadowing/vmread-bitmap", NEEDS_L2, SHADOWING,
      "VMREAD in L2 exits for the field whose bit is set in the VMREAD bitmap, and for no neighbour of it")
{
    each_bit(&reads_field, READ_BITMAP, EXIT_VMREAD);
}

CHECK(write_bits, "vmcs-shadowing/vmwrite-bitmap", NEEDS_L2, SHADOWING,
      "VMWRITE in L2 exits for the field whose bit is set in the VMWRITE bitmap, and for no neighbour of it")
{
    each_bit(&writes_field, WRITE_BITMAP, EXIT_VMWRITE);
}

CHECK(high, "vmcs-shadowing/high-fields", NEEDS_L2, SHADOWING,
      "VMREAD in L2 exits for each field encoding with one of bits 31:15 set, whatever the bitmaps are")
{
    struct tally tally = { 0 };
    with_shadowing(&reads_field, 0);
    for (u32 bit = 15; bit < 32; bit++) {
        l2_registers.eax = 1u << bit | GUEST_RSP;
        struct vm_exit exit = l2_try(&reads_field);
        tally_turn(&tally, bit, exit.reason, EXIT_VMREAD);
    }
    must_tally(&tally);
}

CHECK(no_link, "vmcs-shadowing/no-link", NEEDS_L2, SHADOWING,
      "VMREAD in L2 with VMCS shadowing ends in VMfailInvalid when the VMCS link pointer is all ones")
{
    with_shadowing(&reads_field, GUEST_RSP);
    vmcs_write64(VMCS_LINK_POINTER, ~(u64)0);
    l2_registers.edx = 0x5A5A;
    struct vm_exit exit = l2_run();
    must("flags", exit.registers.esi & ALL_FLAGS, CARRY_FLAG);
    must("edx", exit.registers.edx, 0x5A5A);
    must_execute(&exit, &reads_field);
}

CHECK(unsupported, "vmcs-shadowing/unsupported", NEEDS_L2, SHADOWING,
      "VMREAD in L2 of a field that does not exist ends in VMfailValid, with error 12 in the linked VMCS")
{
    enum { NO_FIELD = FIELD_ENCODING(FIELD_32, FIELD_CONTROL, 0x1FF), UNSUPPORTED_COMPONENT = 12 };
    with_shadowing(&reads_field, NO_FIELD);
    struct vm_exit exit = l2_run();
    must("flags", exit.registers.esi & ALL_FLAGS, ZERO_FLAG);
    must_execute(&exit, &reads_field);
}

CHECK(off, "vmcs-shadowing/off", NEEDS_L2, SHADOWING, "Control: VMREAD in L2 without VMCS shadowing exits")
{
    with_shadowing(&reads_field, GUEST_RSP);
    vmcs_clear_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, VMCS_SHADOWING, "VMCS shadowing is fixed to 1");
    vmcs_write64(VMCS_LINK_POINTER, ~(u64)0);
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_VMREAD);
    must_stop_at(&exit, reads_field.start);
}
