/* Instructions whose operand an exit describes: exit qualification (the displacement) and instruction information. */
#include "check.h"
#include "cpu.h"
#include "l2.h"
#include "l2_code.h"
#include "vmx.h"

#define INFORMATION "Information for VM Exits Due to Instruction Execution (Vol. 3, 28.2.5)"

enum { DISPLACEMENT = 0x24 };
/* An operand in memory at DISPLACEMENT(%ebx, %esi, 4), or without the index; the other bits are undefined. */
enum {
    SCALE_4 = 2,
    ADDRESS_32 = 1 << 7,
    OPERAND_32 = 1 << 11,
    SEGMENT_DS = 3 << 15,
    INDEX_ESI = 6 << 18,
    NO_INDEX = 1 << 22,
    BASE_EBX = 3 << 23,
};
enum { SCALE = 3, ADDRESS = 7 << 7, REGISTER = 1 << 10, SEGMENT = 7 << 15, INDEX = 0x1F << 18, BASE = 0x1F << 23 };
enum { PLAIN = ADDRESS | REGISTER | SEGMENT | NO_INDEX | BASE, INDEXED = PLAIN | SCALE | INDEX };
enum { AT_EBX = ADDRESS_32 | SEGMENT_DS | NO_INDEX | BASE_EBX };
enum { AT_EBX_ESI = ADDRESS_32 | SEGMENT_DS | BASE_EBX | INDEX_ESI | SCALE_4 };
#define IDENTITY (3u << 28)

struct described {
    u32 reason, length, qualification, information, defined;
};

static u8 memory[64];

static void must_describe(const struct l2_code *code, u32 secondary, struct described required)
{
    l2_prepare(code->start);
    l2_registers.ebx = address_of(memory);
    vmcs_set_controls(SECONDARY_PROCESSOR_BASED_CONTROLS, secondary, "no descriptor-table exiting");
    struct vm_exit exit = l2_run();
    must("exit_reason", exit.reason, required.reason);
    must("instruction_length", exit.instruction_length, required.length);
    if (required.information & REGISTER) /* must be 0, but Bochs may give an older instruction's displacement */
        noted("exit_qualification", exit.qualification);
    else
        must("exit_qualification", exit.qualification, required.qualification);
    must("instruction_information", exit.instruction_information & required.defined, required.information);
    must_stop_at(&exit, code->start);
    saw_exit(&exit, code->start);
}

#define DESCRIBED(ident, id, name, assembly, secondary, ...)                                                     \
    L2_CODE(ident, assembly);                                                                                    \
    CHECK(ident##_described, "operand/" id, NEEDS_L2, INFORMATION,                                               \
          name " in L2 exits with its operand in exit qualification and instruction information")                 \
    {                                                                                                            \
        must_describe(&ident, secondary, (struct described){ __VA_ARGS__ });                                      \
    }
#define TABLE(ident, id, name, assembly, number)                                                                 \
    DESCRIBED(ident, id, name, assembly, DESCRIPTOR_TABLE_EXITING, EXIT_ACCESS_TO_GDTR_OR_IDTR, 4, DISPLACEMENT,   \
              AT_EBX | OPERAND_32 | (number) << 28, PLAIN | OPERAND_32 | IDENTITY)
TABLE(sgdt, "sgdt", "SGDT", "sgdt 0x24(%ebx)", 0u)
TABLE(sidt, "sidt", "SIDT", "sidt 0x24(%ebx)", 1u)
TABLE(lgdt, "lgdt", "LGDT", "lgdt 0x24(%ebx)", 2u)
TABLE(lidt, "lidt", "LIDT", "lidt 0x24(%ebx)", 3u)
DESCRIBED(sgdt_indexed, "sgdt-indexed", "SGDT with an index", "sgdt 0x24(%ebx, %esi, 4)", DESCRIPTOR_TABLE_EXITING,
          EXIT_ACCESS_TO_GDTR_OR_IDTR, 5, DISPLACEMENT, AT_EBX_ESI | OPERAND_32, INDEXED | OPERAND_32 | IDENTITY)

#define LOCAL(ident, id, name, assembly, number)                                                                 \
    DESCRIBED(ident, id, name, assembly, DESCRIPTOR_TABLE_EXITING, EXIT_ACCESS_TO_LDTR_OR_TR, 4, DISPLACEMENT,     \
              AT_EBX | (number) << 28, PLAIN | IDENTITY)
LOCAL(sldt, "sldt", "SLDT", "sldt 0x24(%ebx)", 0u)
LOCAL(str, "str", "STR", "str 0x24(%ebx)", 1u)
LOCAL(lldt, "lldt", "LLDT", "lldt 0x24(%ebx)", 2u)
LOCAL(ltr, "ltr", "LTR", "ltr 0x24(%ebx)", 3u)
DESCRIBED(lldt_register, "lldt-register", "LLDT of a register", "lldt %cx", DESCRIPTOR_TABLE_EXITING,
          EXIT_ACCESS_TO_LDTR_OR_TR, 3, 0, REGISTER | 1 << 3 | 2u << 28, REGISTER | 0xF << 3 | IDENTITY)

DESCRIBED(vmclear, "vmclear", "VMCLEAR", "vmclear 0x24(%ebx)", 0, EXIT_VMCLEAR, 5, DISPLACEMENT, AT_EBX, PLAIN)
DESCRIBED(vmptrld, "vmptrld", "VMPTRLD", "vmptrld 0x24(%ebx)", 0, EXIT_VMPTRLD, 4, DISPLACEMENT, AT_EBX, PLAIN)
DESCRIBED(vmptrst, "vmptrst", "VMPTRST", "vmptrst 0x24(%ebx)", 0, EXIT_VMPTRST, 4, DISPLACEMENT, AT_EBX, PLAIN)
DESCRIBED(vmxon, "vmxon", "VMXON", "vmxon 0x24(%ebx)", 0, EXIT_VMXON, 5, DISPLACEMENT, AT_EBX, PLAIN)
DESCRIBED(vmread, "vmread", "VMREAD to a register", "vmread %eax, %ecx", 0, EXIT_VMREAD, 3, 0, REGISTER | 1 << 3,
          REGISTER | 0xF << 3 | 0xFu << 28)
DESCRIBED(vmread_memory, "vmread-memory", "VMREAD to memory", "vmread %edx, 0x24(%ebx)", 0, EXIT_VMREAD, 4,
          DISPLACEMENT, AT_EBX | 2u << 28, PLAIN | 0xFu << 28)
DESCRIBED(vmwrite, "vmwrite", "VMWRITE from a register", "vmwrite %ecx, %eax", 0, EXIT_VMWRITE, 3, 0,
          REGISTER | 1 << 3, REGISTER | 0xF << 3 | 0xFu << 28)
DESCRIBED(invept, "invept", "INVEPT", "invept 0x24(%ebx), %edx", 0, EXIT_INVEPT, 6, DISPLACEMENT, AT_EBX | 2u << 28,
          PLAIN | 0xFu << 28)
DESCRIBED(invvpid, "invvpid", "INVVPID", "invvpid 0x24(%ebx), %edx", 0, EXIT_INVVPID, 6, DISPLACEMENT,
          AT_EBX | 2u << 28, PLAIN | 0xFu << 28)

/* Without the control the four stores execute. */
#define STORES(ident, id, name)                                                                                  \
    CHECK(ident##_executes, "operand/" id "-executes", NEEDS_L2, INFORMATION,                                     \
          "Control: " name " in L2 executes without descriptor-table exiting")                                    \
    {                                                                                                            \
        l2_prepare(ident.start);                                                                                 \
        l2_registers.ebx = address_of(memory);                                                                   \
        struct vm_exit exit = l2_run();                                                                          \
        must_execute(&exit, &ident);                                                                             \
    }
STORES(sgdt, "sgdt", "SGDT")
STORES(sidt, "sidt", "SIDT")
STORES(sldt, "sldt", "SLDT")
STORES(str, "str", "STR")
