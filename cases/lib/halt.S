# Where every image ends. An exported one goes back to its caller from here: there is room for a jump.

.section .text.halt_for_good, "ax"
.code32
.globl halt_for_good
halt_for_good:
    cli
    hlt
    jmp halt_for_good
    .skip 4
