/* I/O instructions: unconditional exiting, the two bitmaps, and what the exit says. */
#include "check.h"
#include "cpu.h"
#include "l2.h"
#include "l2_code.h"
#include "tally.h"
#include "vmx.h"

#define BITMAPS "I/O-Bitmap Addresses (Vol. 3, 25.6.4)"
#define QUALIFICATION "Exit Qualification for I/O Instructions (Vol. 3, 28.2.1)"

enum { PORTS = 0x10000, FREE_PORT = 0x80 };
enum { INPUT = 1 << 3, STRING = 1 << 4, REP = 1 << 5, IMMEDIATE = 1 << 6 };

L2_CODE(inb, "inb %dx, %al");
L2_CODE(inw, "inw %dx, %ax");
L2_CODE(inl, "inl %dx, %eax");

static u8 bitmaps[PORTS / 8] PAGE_ALIGNED; /* A is the first page, B the second */
static u8 memory[64];

static void use_bitmaps(void)
{
    fill32(bitmaps, 0, sizeof bitmaps / 4);
    vmcs_write64(IO_BITMAP_A_ADDRESS, address_of(bitmaps));
    vmcs_write64(IO_BITMAP_B_ADDRESS, address_of(bitmaps) + PAGE_SIZE);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, USE_IO_BITMAPS, "no I/O bitmaps");
}

static void set_port(u32 port, bool exits)
{
    bitmaps[port / 8] = exits ? (u8)(1 << port % 8) : 0;
}

static const struct {
    const struct l2_code *code;
    u32 size;
} inputs[] = { { &inb, 1 }, { &inw, 2 }, { &inl, 4 } };

CHECK(sweep, "io/bitmaps", NEEDS_L2, BITMAPS,
      "IN of 1, 2 and 4 bytes in L2 exits when the bitmaps have a bit for one of its ports, at all borders of them")
{
    static const u16 ports[] = { 0x8, 0x80, 0x87, 0x7FF8, 0x7FFF, 0x8000, 0x8001, 0xFFF8, 0xFFFC };
    struct tally tally = { 0 };
    l2_prepare(NULL);
    use_bitmaps();
    for (u32 index = 0; index < ARRAY_SIZE(ports); index++) {
        set_port(ports[index], true);
        for (u32 width = 0; width < ARRAY_SIZE(inputs); width++)
            for (u32 first = ports[index] - 4u; first <= ports[index] + 1u; first++) {
                if (first + inputs[width].size > PORTS)
                    continue;
                l2_registers.edx = first;
                struct vm_exit exit = l2_try(inputs[width].code);
                bool exits = first <= ports[index] && ports[index] < first + inputs[width].size;
                u64 required = exits ? (u64)EXIT_IO_INSTRUCTION << 32 | first << 16 | INPUT | (inputs[width].size - 1)
                                     : (u64)EXIT_VMCALL << 32;
                tally_turn(&tally, (u64)ports[index] << 32 | width << 16 | first,
                           (u64)exit.reason << 32 | exit.qualification, required);
            }
        set_port(ports[index], false);
    }
    must_tally(&tally);
}

CHECK(wrap, "io/bitmaps-wrap", NEEDS_L2, BITMAPS,
      "IN in L2 that wraps around port FFFFH exits although both bitmaps are clear")
{
    struct tally tally = { 0 };
    l2_prepare(NULL);
    use_bitmaps();
    for (u32 width = 1; width < ARRAY_SIZE(inputs); width++)
        for (u32 first = PORTS - inputs[width].size + 1; first < PORTS; first++) {
            l2_registers.edx = first;
            struct vm_exit exit = l2_try(inputs[width].code);
            tally_turn(&tally, width << 16 | first, exit.reason, EXIT_IO_INSTRUCTION);
        }
    must_tally(&tally);
}

CHECK(unconditional, "io/unconditional", NEEDS_L2, BITMAPS,
      "IN in L2 exits at each port by unconditional I/O exiting without bitmaps")
{
    static const u16 ports[] = { 0, 0x80, 0x7FFF, 0x8000, 0xFFFF };
    struct tally tally = { 0 };
    l2_prepare(NULL);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, UNCONDITIONAL_IO_EXITING, "no unconditional I/O exiting");
    for (u32 index = 0; index < ARRAY_SIZE(ports); index++) {
        l2_registers.edx = ports[index];
        struct vm_exit exit = l2_try(&inb);
        tally_turn(&tally, ports[index], exit.reason, EXIT_IO_INSTRUCTION);
    }
    must_tally(&tally);
}

CHECK(ignored, "io/unconditional-with-bitmaps", NEEDS_L2, BITMAPS,
      "IN in L2 executes with both bitmaps clear, as the use of I/O bitmaps switches unconditional exiting off")
{
    l2_prepare(inb.start);
    use_bitmaps();
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, UNCONDITIONAL_IO_EXITING, "no unconditional I/O exiting");
    l2_registers.edx = FREE_PORT;
    struct vm_exit exit = l2_run();
    must_execute(&exit, &inb);
}

CHECK(neither, "io/no-control", NEEDS_L2, BITMAPS,
      "IN in L2 executes with neither I/O bitmaps nor unconditional exiting in use")
{
    l2_prepare(inb.start);
    fill32(bitmaps, 0xFFFFFFFF, sizeof bitmaps / 4);
    vmcs_write64(IO_BITMAP_A_ADDRESS, address_of(bitmaps));
    vmcs_write64(IO_BITMAP_B_ADDRESS, address_of(bitmaps));
    l2_registers.edx = FREE_PORT;
    struct vm_exit exit = l2_run();
    must_execute(&exit, &inb);
}

/* What the exit says of each form. */
struct described {
    u32 length, qualification, information, defined;
};
enum { ADDRESS_32 = 1 << 7, ADDRESS = 7 << 7, SEGMENT = 7 << 15, SEGMENT_DS = 3 << 15, SEGMENT_FS = 4 << 15 };

static void must_describe(const struct l2_code *code, struct described required)
{
    l2_prepare(code->start);
    vmcs_set_controls(PRIMARY_PROCESSOR_BASED_CONTROLS, UNCONDITIONAL_IO_EXITING, "no unconditional I/O exiting");
    l2_registers.edx = FREE_PORT;
    l2_registers.edi = l2_registers.esi = address_of(memory);
    l2_registers.ecx = 3;
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, EXIT_IO_INSTRUCTION);
    must("instruction_length", exit.instruction_length, required.length);
    must("exit_qualification", exit.qualification, FREE_PORT << 16 | required.qualification);
    must("ecx", exit.registers.ecx, 3);
    if (required.qualification & STRING) {
        must("guest_linear_address", exit.guest_linear_address, address_of(memory));
        must("instruction_information", exit.instruction_information & required.defined, required.information);
    }
    must_stop_at(&exit, code->start);
    saw_exit(&exit, code->start);
}

#define FORM(ident, id, name, assembly, ...)                                                                 \
    L2_CODE(ident, assembly);                                                                                \
    CHECK(ident##_form, "io/" id, NEEDS_L2, QUALIFICATION,                                                   \
          name " in L2 exits with its form in the exit qualification, before it does anything")               \
    {                                                                                                        \
        must_describe(&ident, (struct described){ __VA_ARGS__ });                                             \
    }
FORM(in_immediate, "in-immediate", "IN of a port in the instruction", "inb $0x80, %al", 2, INPUT | IMMEDIATE, 0, 0)
FORM(in_dx, "in-dx", "IN of a doubleword", "inl %dx, %eax", 1, INPUT | 3, 0, 0)
FORM(out_immediate, "out-immediate", "OUT to a port in the instruction", "outb %al, $0x80", 2, IMMEDIATE, 0, 0)
FORM(out_word, "out-word", "OUT of a word", "outw %ax, %dx", 2, 1, 0, 0)
FORM(insb, "insb", "INSB", "insb", 1, INPUT | STRING, ADDRESS_32, ADDRESS)
FORM(rep_insw, "rep-insw", "REP INSW", "rep insw", 3, INPUT | STRING | REP | 1, ADDRESS_32, ADDRESS)
FORM(outsb, "outsb", "OUTSB", "outsb", 1, STRING, ADDRESS_32 | SEGMENT_DS, ADDRESS | SEGMENT)
FORM(fs_outsl, "outsd-fs", "OUTSD from FS", "outsl %fs:(%esi), %dx", 2, STRING | 3, ADDRESS_32 | SEGMENT_FS,
     ADDRESS | SEGMENT)
FORM(rep_outsl, "rep-outsd", "REP OUTSD", "rep outsl", 2, STRING | REP | 3, ADDRESS_32 | SEGMENT_DS, ADDRESS | SEGMENT)

/* What IN leaves of EAX, wherever the port's value comes from. */
L2_CODE(in_byte, "inb $0x61, %al");
L2_CODE(in_word, "movl $0x61, %edx; inw %dx, %ax");
L2_CODE(in_of_8259, "inb $0x21, %al");

CHECK(in_keeps, "io/in-keeps-eax", NEEDS_L2, "IN (Vol. 2)",
      "IN of a byte in L2 changes AL alone, and IN of a word AX alone")
{
    l2_prepare(in_byte.start);
    l2_registers.eax = 0x5A6B7C8D;
    must("after_byte", l2_try(&in_byte).registers.eax & ~0xFFu, 0x5A6B7C00);
    l2_registers.eax = 0x5A6B7C8D;
    must("after_word", l2_try(&in_word).registers.eax >> 16, 0x5A6B);
    l2_registers.eax = 0x5A6B7C8D;
    struct vm_exit exit = l2_try(&in_of_8259);
    must("after_byte_of_8259", exit.registers.eax & ~0xFFu, 0x5A6B7C00);
    must_execute(&exit, &in_of_8259);
}
