/* The stage of this family: L2 with PAE tables in `l2_tables.pae`, about to run one instruction on a control register
   that must load the PDPTEs, or must not. The PDPTE registers show what the instruction did: wherever paging is on
   already, the table in memory (PWT set) differs from the one that the registers were loaded from.

       about_to_set_pg();                                 paging is off
       about_to(l2_mov_cr4, L2_CR4 | CR4_PSE);            PAE paging is on
       about_to(l2_mov_cr3, address_of(other_pdpt));      the table to be loaded lies in another page
*/
#pragma once

#include "check.h"
#include "cpu.h"
#include "ept.h"
#include "l2.h"
#include "l2_modes.h"
#include "vmx.h"

#define PDPTE_REGISTERS "PDPTE Registers (Vol. 3, 4.4.1)"
#define EPT_TRANSLATION "EPT Translation Mechanism (Vol. 3, 29.3.2)"
#define EPT_MISCONFIGURATIONS "EPT Misconfigurations (Vol. 3, 29.3.3.1)"
#define EPT_VIOLATIONS "EPT Violations (Vol. 3, 29.3.3.2)"
#define EPT_FLAGS "Accessed and Dirty Flags for EPT (Vol. 3, 29.3.5)"
#define EPT_LOG "Page-Modification Logging (Vol. 3, 29.3.6)"
#define EXIT_INFORMATION "Basic VM-Exit Information (Vol. 3, 28.2.1)"
#define EXIT_QUALIFICATION_TABLE "Exit Qualification for EPT Violations (Vol. 3, table in 28.2.1)"

enum { L2_CR0 = CR0_PE | CR0_ET | CR0_NE, L2_CR4 = CR4_VMXE | CR4_PAE };
enum { REACHED_END = 0x600D, GENERAL_PROTECTION = 13 };
enum { PDPTE_PWT = 1 << 3 };

/* One instruction that takes EAX, `_then` what follows it: EAX = REACHED_END and VMCALL. */
extern const char l2_mov_cr0[], l2_mov_cr0_then[], l2_mov_cr3[], l2_mov_cr3_then[], l2_mov_cr4[], l2_lmsw[], l2_clts[];

extern u64 other_pdpt[512]; /* the same PDPTEs as in `l2_tables.pae.pdpt`, with PWT set, in a page of their own */

void about_to_set_pg(void);
void about_to(const char *instruction, u32 operand);

/* Another CR0, or other PDPTE registers, before the instruction: after `about_to`. */
void starts_with_cr0(u32 value);
void starts_with_pdptes(const u64 pdptes[4]);

/* A guest-physical address that EPT translates by a PDPTE, a PDE and a PTE of its own, to the page of L2's PDPTEs. */
#define WINDOW (1u << 30)
void put_table_in_window(void);

/* `about_to_set_pg` with these rights in the EPT PDE above the window, and in the PTE. */
void rights_by_level(u32 directory, u32 leaf);

/* `skip`, unless EPT entries may allow fetches alone. */
void need_execute_only(void);

/* Let CR3 point at these PDPTEs, which L2 is then about to load. */
void use_table(u64 *pdptes);

/* Back to the instruction, after an exception or an exit that it should not have caused. */
void about_to_again(void);

/* Run L2 and require this of the instruction. */
void run_must_load(const u64 pdptes[4]); /* it completes, and these are in the PDPTE registers */
void run_must_not_load(void);            /* it completes, and the PDPTE registers are what they were */
void run_must_violate(u32 allowed);      /* EPT violation at the PDPTEs, where EPT allows `allowed`: bits of EPT_ALL */
void run_must_misconfigure(void);        /* EPT misconfiguration at the PDPTEs; in both cases nothing else changes */

/* The control registers, as the VMCS must hold them. */
struct control_registers {
    u32 cr0, cr3, cr4;
};
void must_have(const struct vm_exit *exit, struct control_registers registers);
