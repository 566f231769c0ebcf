/* What a program without a C library needs: the kernel's calls, memory, files and text. What fails ends it. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum { READ, WRITE, OPEN, CLOSE, LSEEK = 8, MMAP = 9, EXIT = 60 }; /* system calls */
enum { SEEK_TO_END = 2, MAY_READ = 1, MAY_WRITE = 2, PRIVATE = 2, ANONYMOUS = 32 };

/* Where a program starts. On its stack are the number of its words, the program's name among them, then the words. */
void begin(u64 *stack);
__asm__(".globl _start\n_start: xorl %ebp, %ebp\n movq %rsp, %rdi\n andq $-16, %rsp\n call begin\n");

struct bytes {
    u8 *at;
    u64 size;
};

static inline u64 call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    register u64 fourth __asm__("r10") = d;
    register u64 fifth __asm__("r8") = e;
    register u64 sixth __asm__("r9") = 0;
    u64 result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

static inline int failed(u64 result)
{
    return result > -4096ul;
}

static inline u64 length(const char *text)
{
    u64 size = 0;
    while (text[size])
        size++;
    return size;
}

/* REP MOVSB, which the emulator does in one go. Its name is one that the compiler may call. */
void *memcpy(void *to, const void *from, u64 size)
{
    void *end = to;
    __asm__ volatile("rep movsb" : "+D"(end), "+S"(from), "+c"(size) : : "memory");
    return to;
}

static inline u8 *put(u8 *to, const void *from, u64 size)
{
    memcpy(to, from, size);
    return to + size;
}

static inline void fail(const char *what)
{
    call(WRITE, 2, (u64) "failed: ", 8, 0, 0);
    call(WRITE, 2, (u64)what, length(what), 0, 0);
    call(EXIT, 1, 0, 0, 0, 0);
    __builtin_unreachable();
}

static inline u8 *room(u64 size)
{
    u64 at = call(MMAP, 0, size + 1, MAY_READ | MAY_WRITE, PRIVATE | ANONYMOUS, -1ul);
    if (failed(at))
        fail("no memory");
    return (u8 *)at;
}

static inline struct bytes content(const char *path)
{
    u64 file = call(OPEN, (u64)path, 0, 0, 0, 0);
    if (failed(file))
        fail(path);
    u64 size = call(LSEEK, file, 0, SEEK_TO_END, 0, 0);
    u64 at = size ? call(MMAP, 0, size, MAY_READ, PRIVATE, file) : 0;
    if (failed(size) || failed(at))
        fail(path);
    call(CLOSE, file, 0, 0, 0, 0);
    return (struct bytes){(u8 *)at, size};
}

static inline void write_all(u64 file, const u8 *data, u64 size)
{
    while (size) {
        u64 done = call(WRITE, file, (u64)data, size, 0, 0);
        if (failed(done))
            fail("cannot write");
        data += done;
        size -= done;
    }
}

static inline u8 *put_number(u8 *to, u64 number, u8 after)
{
    u8 digits[20], *first = digits + sizeof digits;
    do
        *--first = (u8)('0' + number % 10);
    while (number /= 10);
    to = put(to, first, (u64)(digits + sizeof digits - first));
    *to = after;
    return to + 1;
}
