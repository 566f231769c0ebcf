#include "feature.h"

#include "cpu.h"
#include "record.h"

/* Beyond the highest leaf CPUID answers with something else (SDM, CPUID instruction). */
static bool leaf_exists(u32 leaf)
{
    u32 highest = cpuid(leaf & 0x80000000).eax;
    return highest >= leaf && (highest & 0x80000000) == (leaf & 0x80000000);
}

bool has(struct feature feature)
{
    if (!leaf_exists(feature.leaf))
        return false;
    struct cpuid answer = cpuid(feature.leaf);
    const u32 registers[] = { answer.eax, answer.ebx, answer.ecx, answer.edx };
    return registers[feature.place] >> feature.bit & 1;
}

void need(struct feature feature)
{
    if (!has(feature))
        skip(feature.absent);
}

const char *intel_lacking(void)
{
    struct cpuid vendor = cpuid(0);
    bool intel = vendor.ebx == 0x756E6547 && vendor.edx == 0x49656E69 && vendor.ecx == 0x6C65746E; /* GenuineIntel */
    return intel ? NULL : "not one of Intel's CPUs";
}

void need_intel(void)
{
    const char *reason = intel_lacking();
    if (reason)
        skip(reason);
}
