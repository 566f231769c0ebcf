/* What a bit of CR0 or CR4 does, shown by an instruction of L2. The CR0 and CR4 that a VM exit saves cannot show the
   bits that L1 owns, for a hypervisor below L1 composes them from what L1 itself wrote.

   L1 owns the bit, and its real value is the opposite of the shadow's. L2 writes what the shadow has, which must not
   exit and must leave the real bit. What L2 reads must be the shadow; what its next instruction does shows the real
   bit. */
#pragma once

#include "stage.h"

struct effect {
    const struct control_register *cr;
    u32 bit;
    u32 with;                    /* other bits of the register that must be set for the bit to have this effect */
    u32 another, another_of_msw; /* a bit that does not matter for it, which MOV or LMSW may change, too */
    const struct l2_code *code;  /* the instruction that shows the bit */
    void (*stage)(bool set);     /* or NULL: what a prepared L2 needs besides, for this value of the bit */
    u32 when_clear, when_set;    /* the vector of the instruction's exception, or else what it leaves in ESI */
};
extern const struct effect effect_pe, effect_mp, effect_em, effect_ts, effect_wp, effect_am, effect_pg;
extern const struct effect effect_tsd, effect_de, effect_pse, effect_pae, effect_osfxsr, effect_osxsave, effect_smep;

/* Prepare L2 with this value of the bit. */
void effect_prepare(const struct effect *effect, bool set);

/* A prepared L2 executes one of these instructions, with `value` in EAX, and then the effect's code: what came of
   it. */
enum writer { BY_MOV, BY_LMSW };
struct shown {
    u32 effect; /* as `when_clear` and `when_set` have it; else none of the two, and `exit` says what happened */
    u32 read;   /* the register, as L2 reads it after the instruction */
    struct vm_exit exit;
};
struct shown effect_after(const struct effect *effect, enum writer writer, u32 value);

/* The bit keeps both its values when L2 writes the opposite, which the shadow has; alone, or changing another bit. */
enum changes { ALONE, WITH_ANOTHER };
void must_keep(const struct effect *effect, enum writer writer, enum changes changes);
