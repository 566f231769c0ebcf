/* L2 in a paging mode, with page tables that map the first 4 GiB one to one by large pages, writable and supervisor.

       l2_prepare(entry);
       l2_use_pae_paging();      all is ready for the mode, only CR0.PG is 0: the instruction under test may set it,
       l2_turn_paging_on();      or L2 starts in the mode
*/
#pragma once

#include "l2.h"
#include "paging.h"

extern struct l2_tables {
    struct pae_tables pae;     /* the PDPTEs are the first four entries of `pae.pdpt` */
    u64 pml4[512], pdpt[512];  /* of 4-level paging; `pae.directories` lie below */
    u32 directory[1024];       /* of 32-bit paging */
} l2_tables;

/* Fill in the tables, point CR3 at them and set what the mode needs in CR4. */
void l2_use_32_bit_paging(void);
void l2_use_pae_paging(void);

/* The same for IA-32e mode, under a 64-bit hypervisor and with IA32_EFER.LME set; `skip` where the CPU cannot. L2 must
   turn paging on by itself; SELECTOR_CODE_64 is its code segment then, and its exceptions are exits. */
void l2_use_4_level_paging(void);

/* Set CR0.PG, and with PAE paging the PDPTE fields from the table that CR3 points at. */
void l2_turn_paging_on(void);

/* After `l2_use_4_level_paging`: let L2 start in 64-bit mode. */
void l2_start_in_64_bit_mode(void);

/* L2 without EPT and without unrestricted guest, once paging is on: its guest-physical addresses are physical ones, and
   VM entry loads PDPTEs from memory. */
void l2_without_ept(void);
