/* The stage of every check here: PAE tables that map the image one to one, and a window.

   The window is the fourth quarter of the linear addresses. All its pages show HERE; PDPTE 3 can be pointed at another
   page directory, in which all of them show OTHER. What is read there shows which PDPTE the CPU translates with: the
   one that lies in memory now, or the one that it has loaded into its register before. */
#pragma once

#include "cpu.h"
#include "feature.h"
#include "mode.h"
#include "paging.h"
#include "trap.h"

enum { HERE = 0xAAAA, OTHER = 0xBBBB };
enum { WINDOW = 3 }; /* its PDPTE's number */
enum { PDPTE_RESERVED = 1 << 1, LARGE_PAGE_SHIFT = 21 };

extern struct pae_tables tables;

/* The tables as described; nothing of an earlier check is left in them. */
void stage_set(void);

/* PAE paging with these tables, and every bit of CR0 and CR4 clear that need not be set. */
struct mode pae(void);

/* What PDPTE 3 is changed into: a sound one. */
u64 other_pdpte(void);

/* What a 32-bit read of linear memory gives: the value, or the vector of the exception. */
u32 read_through(u32 address);

/* A read of the window, at an address that was not read since `stage_set`: no TLB entry answers it. */
u32 through_window(void);

/* An address in the window by its page-directory entry. */
u32 window_at(u32 entry);

/* Set IA32_EFER.NXE, or give it back as it was. The CPU must have FEATURE_NX. */
void execute_disable(bool on);

/* For `trap_in`. */
void read_at(u32 address);
void write_at(u32 address);
