#include "toggle.h"

#include "check.h"
#include "stage.h"

struct outcome {
    struct trap trap;
    u32 changed_bits, window;
};

static struct outcome run(struct toggle toggle, bool clearing, u64 pdpte)
{
    struct mode mode = pae();
    mode.cr0 |= toggle.with_cr0 | (clearing ? toggle.cr0 : 0);
    mode.cr4 |= clearing ? toggle.cr4 : 0;
    stage_set();
    mode_enter(mode);
    tables.pdpt[WINDOW] = pdpte;
    struct trap trap =
        toggle.cr0 ? trap_in(mov_to_cr0, mode.cr0 ^ toggle.cr0) : trap_in(mov_to_cr4, mode.cr4 ^ toggle.cr4);
    u32 changed = (read_cr0() ^ mode.cr0) | (read_cr4() ^ mode.cr4);
    struct outcome outcome = { trap, changed, through_window() };
    mode_leave();
    return outcome;
}

/* Fields by direction: setting the bits, clearing them. */
static const struct {
    const char *sound_fault, *sound_window, *fault, *vector, *error_code, *changed_bits, *window;
} fields[] = {
    { "setting_sound_fault", "setting_sound_window", "setting_fault", "setting_vector", "setting_error_code",
      "setting_changed_bits", "setting_window" },
    { "clearing_sound_fault", "clearing_sound_window", "clearing_fault", "clearing_vector", "clearing_error_code",
      "clearing_changed_bits", "clearing_window" },
};

void must_load(struct toggle toggle)
{
    for (u32 clearing = false; clearing <= true; clearing++) {
        struct outcome sound = run(toggle, clearing, other_pdpte());
        must(fields[clearing].sound_fault, sound.trap.taken, false);
        must(fields[clearing].sound_window, sound.window, OTHER);
        struct outcome corrupt = run(toggle, clearing, other_pdpte() | PDPTE_RESERVED);
        must(fields[clearing].fault, corrupt.trap.taken, true);
        if (corrupt.trap.taken) {
            must(fields[clearing].vector, corrupt.trap.vector, VECTOR_GP);
            must(fields[clearing].error_code, corrupt.trap.error_code, 0);
        }
        must(fields[clearing].changed_bits, corrupt.changed_bits, 0);
        must(fields[clearing].window, corrupt.window, HERE);
    }
}

void must_not_load(struct toggle toggle)
{
    for (u32 clearing = false; clearing <= true; clearing++) {
        struct outcome corrupt = run(toggle, clearing, other_pdpte() | PDPTE_RESERVED);
        must(fields[clearing].fault, corrupt.trap.taken, false);
        if (corrupt.trap.taken) {
            saw(fields[clearing].vector, corrupt.trap.vector);
            saw(fields[clearing].error_code, corrupt.trap.error_code);
        }
        must(fields[clearing].changed_bits, corrupt.changed_bits, toggle.cr0 | toggle.cr4);
        must(fields[clearing].window, corrupt.window, HERE);
    }
}
