/* Page tables: the identity map that the kit itself runs on, and those that guests are given. */
#pragma once

#include "types.h"

#define PTE_PRESENT (1u << 0)
#define PTE_WRITABLE (1u << 1)
#define PTE_USER (1u << 2)
#define PTE_ACCESSED (1u << 5)
#define PTE_DIRTY (1u << 6)
#define PTE_LARGE (1u << 7)
#define PTE_GLOBAL (1u << 8)
#define PTE_XD ((u64)1 << 63)

/* Bits of a page fault's error code (SDM, "Page-Fault Exceptions"). */
#define PF_PRESENT (1u << 0)
#define PF_WRITE (1u << 1)
#define PF_USER (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH (1u << 4)

/* Turn on 32-bit paging with 4 MiB identity pages: VMX operation needs CR0.PG (SDM, "Restrictions on VMX
   Operation"). */
void paging_start(void);

/* A page directory for 32-bit paging that maps 4 GiB one to one with 4 MiB pages: CR4.PSE must be set. */
void identity_32_bit(u32 directory[1024]);

/* PAE tables: a page whose first four entries are the PDPTEs, all present, identity-mapping 4 GiB with 2 MiB pages. */
struct pae_tables {
    u64 pdpt[512];
    u64 directories[4][512];
} PAGE_ALIGNED;

void pae_identity(struct pae_tables *tables);

/* NULL, or why this CPU has no PAE paging; and why none with PDPTE registers as the SDM defines them: AMD's CPUs may
   read the four entries from memory whenever they translate. */
const char *pae_lacking(void);
const char *pdpte_registers_lacking(void);

/* MAXPHYADDR (SDM, "Enumeration of Paging Features by CPUID"): physical addresses have bits below this one. */
u32 physical_address_bits(void);

/* Bits of a present PDPTE that must be 0 (SDM, table "Format of a PAE Page-Directory-Pointer-Table Entry (PDPTE)"):
   2:1, 8:5, 63:MAXPHYADDR. Bit 63 is among them whatever IA32_EFER.NXE is. */
u64 pdpte_reserved(void);
