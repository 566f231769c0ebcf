/* Preloaded into a Bochs that restores its memory: gives it the file that the memory lies in.
 *
 * Bochs copies the memory of a saved state, 64 bytes at a time and holes and all, into a temporary file that it asks the C library
 * for, and reads the blocks that it needs from there. In place of that file it gets the saved one, to read only; what it is told to
 * copy is empty then. The C library is that Bochs' own, which need not be this host's: it is only named here.
 */

typedef struct stream FILE;

extern char *getenv(const char *);
extern FILE *fopen64(const char *, const char *);

FILE *tmpfile64(void);

FILE *tmpfile64(void)
{
    const char *memory = getenv("DIFFTEST_MEMORY");
    return memory ? fopen64(memory, "r") : 0;
}
