#pragma once

/* Print the CPU's signature, its physical-address width and, where it has VMX, the VMX capability MSRs. */
void say_capabilities(void);
