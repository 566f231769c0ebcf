/* F-05: a MOVS that a hypervisor below L1 emulates, as its source is the local APIC. */
#include "apic.h"
#include "stage.h"

L2_CODE(movsl, "movsl");
L2_CODE(push, "pushl (%esi)");

static void move(const struct l2_code *code)
{
    string_io(code, target, 0);
    ept_map(LOCAL_APIC, (const void *)LOCAL_APIC, EPT_READ | EPT_WRITE);
    l2_registers.esi = LOCAL_APIC + APIC_VERSION;
}

CHECK(mapped, "F-05/mapped", NEEDS_L2, "MOVS (Vol. 2)",
      "Control: MOVSD in L2 from the local APIC's version register stores what L1 reads there")
{
    move(&movsl);
    struct vm_exit exit = l2_try(&movsl);
    must("value", *(u32 *)target, apic_read(APIC_VERSION));
    must("edi_step", exit.registers.edi - address_of(target), 4);
    must_execute(&exit, &movsl);
}

static void must_violate_as_write(const struct l2_code *code, u32 rights)
{
    struct vm_exit exit = l2_try(code);
    must_violate_at(&exit, code, (struct violation_required){ address_of(target), address_of(target), VIOLATION_WRITE,
                                                             rights, 1 });
    must("esi_step", exit.registers.esi - LOCAL_APIC, APIC_VERSION);
    saw_exit(&exit, code->start);
}

CHECK(absent, "F-05/absent", NEEDS_L2, QUALIFICATION,
      "MOVSD in L2 from the local APIC to a page absent from EPT causes an EPT violation of a write at its own address")
{
    move(&movsl);
    ept_protect(target, EPT_NOTHING);
    must_violate_as_write(&movsl, EPT_NOTHING);
}

CHECK(read_only, "F-05/read-only", NEEDS_L2, QUALIFICATION,
      "MOVSD in L2 from the local APIC to a page read-only in EPT causes an EPT violation of a write, bits 5:3 = 001b")
{
    move(&movsl);
    ept_protect(target, EPT_READ);
    must_violate_as_write(&movsl, EPT_READ);
}

CHECK(stack_absent, "F-05/push-absent", NEEDS_L2, QUALIFICATION,
      "PUSH in L2 of a doubleword of the local APIC on a stack absent from EPT causes an EPT violation at its address")
{
    move(&push);
    vmcs_write(GUEST_RSP, address_of(target + 4));
    ept_protect(target, EPT_NOTHING);
    must_violate_as_write(&push, EPT_NOTHING);
}

CHECK(source_absent, "F-05/source-absent", NEEDS_L2, QUALIFICATION,
      "MOVSD in L2 from a page absent from EPT to the local APIC causes an EPT violation of a read")
{
    move(&movsl);
    l2_registers.esi = address_of(target);
    l2_registers.edi = LOCAL_APIC + APIC_TPR;
    ept_protect(target, EPT_NOTHING);
    struct vm_exit exit = l2_try(&movsl);
    must_violate_at(&exit, &movsl, (struct violation_required){ address_of(target), address_of(target), VIOLATION_READ,
                                                               EPT_NOTHING, 1 });
    saw_exit(&exit, movsl.start);
}
