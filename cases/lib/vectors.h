/* Exceptions, for C and assembly. */
#pragma once

#define VECTOR_NMI 2
#define VECTOR_UD 6
#define VECTOR_NM 7
#define VECTOR_SS 12
#define VECTOR_GP 13
#define VECTOR_PF 14

#define VECTOR_AC 17

/* Whether an exception pushes an error code (SDM, "Error Code"). */
#define PUSHES_ERROR_CODE(vector)                                                                                      \
    (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
