/* A library to preload: file operations below a folder fail from the nth on, as on a disk that is full or broken.
 *
 * fault_arm(error, nth, folder) has the nth operation and all after it fail with `error`; fault_hits() is how many
 * failed. Operations are counted in this process and, by the environment, in the programs that it starts. Reading
 * counts only where the error is one that reading can meet.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int fault, hits;
static long left;
static char folder[PATH_MAX];

void fault_arm(int error, long nth, const char *below)
{
    static char words[PATH_MAX + 64];

    fault = error;
    left = nth;
    hits = 0;
    snprintf(folder, sizeof folder, "%s", below);
    snprintf(words, sizeof words, "%d %ld %s", error, nth, below);
    setenv("FAULT", words, 1);
}

int fault_hits(void)
{
    return hits;
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *words = getenv("FAULT");
    int at;

    if (words && sscanf(words, "%d %ld %n", &fault, &left, &at) == 2)
        snprintf(folder, sizeof folder, "%s", words + at);
}

static int fails(const char *path)
{
    char full[PATH_MAX];
    const char *name = path;

    if (!fault || !path)
        return 0;
    if (path[0] != '/' && getcwd(full, sizeof full / 2)) {
        strncat(full, "/", 2);
        strncat(full, path, sizeof full / 2 - 2);
        name = full;
    }
    if (strncmp(name, folder, strlen(folder)) || left-- > 0)
        return 0;
    hits++;
    errno = fault;
    return 1;
}

static int fails_on(int descriptor)
{
    char link[64], path[PATH_MAX];
    ssize_t length;

    if (!fault)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(path);
}

static int counts(int flags)
{
    return flags & (O_WRONLY | O_RDWR | O_CREAT) || fault == EIO || fault == EMFILE;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                                         \
    int name(const char *path, int flags, ...)                              \
    {                                                                       \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        return counts(flags) && fails(path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define ON_PATH(name, parameters, path, ...) \
    int name parameters { return fails(path) ? -1 : REAL(name)(__VA_ARGS__); }
ON_PATH(mkdir, (const char *path, mode_t mode), path, path, mode)
ON_PATH(rename, (const char *from, const char *to), to, from, to)
ON_PATH(symlink, (const char *target, const char *path), path, target, path)
ON_PATH(truncate, (const char *path, off_t size), path, path, size)
ON_PATH(truncate64, (const char *path, off64_t size), path, path, size)

#define ON_DESCRIPTOR(type, name, parameters, descriptor, ...) \
    type name parameters { return fails_on(descriptor) ? -1 : REAL(name)(__VA_ARGS__); }
ON_DESCRIPTOR(ssize_t, write, (int to, const void *data, size_t size), to, to, data, size)
ON_DESCRIPTOR(int, fsync, (int descriptor), descriptor, descriptor)
ON_DESCRIPTOR(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), to, to, from, at, size)
