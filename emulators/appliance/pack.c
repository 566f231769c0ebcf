/* What brings files out of the appliance, as the emulated CPU is slow and its serial port slower. Two uses:
 *
 *   pack [-k] FILE...      to standard output: these files and, with -k, what the kernel has said since the last time, packed
 *   pack -r ID CODE FILE   to standard output: the agent's answer "ID CODE BASE64-OF-FILE\n", see init.sh
 *
 * Packed is one raw deflate stream and the CRC-32 of its bytes. In the stream each file is a line "NAME SIZE HEAD STRIDE\n", its
 * first HEAD bytes, and the rest in rows of STRIDE bytes, of which equal ones that follow each other stand there once, behind
 * their number in two bytes (little-endian). So a picture (PPM) of a text screen costs little more than being looked at once.
 * The near end is packed.py.
 *
 * There is no C library: it would cost more to start than all this does.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum { READ, WRITE, OPEN, CLOSE, LSEEK = 8, MMAP = 9, EXIT = 60, SYSLOG = 103 }; /* system calls */
enum { READ_CLEAR = 4, SIZE_BUFFER = 10 };                                       /* of SYSLOG */
enum { SEEK_TO_END = 2, MAY_READ = 1, MAY_WRITE = 2, PRIVATE = 2, ANONYMOUS = 32 };
enum { WINDOW = 32768, LONGEST = 258, SHORTEST = 4, HASH_BITS = 12, MOST_ROWS = 65535, LEAST_STRIDE = 64 };
enum { MOST_FILES = 64, LINE = 128 }; /* a line's bytes without the name, at most */

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

static int failed(u64 result)
{
    return result > -4096ul;
}

static u64 length(const char *text)
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

static u8 *put(u8 *to, const void *from, u64 size)
{
    memcpy(to, from, size);
    return to + size;
}

static void fail(const char *what)
{
    call(WRITE, 2, (u64) "pack: ", 6, 0, 0);
    call(WRITE, 2, (u64)what, length(what), 0, 0);
    call(EXIT, 1, 0, 0, 0, 0);
    __builtin_unreachable();
}

static u8 *room(u64 size)
{
    u64 at = call(MMAP, 0, size + 1, MAY_READ | MAY_WRITE, PRIVATE | ANONYMOUS, -1ul);
    if (failed(at))
        fail("no memory");
    return (u8 *)at;
}

static struct bytes content(const char *path)
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

static void say(const u8 *data, u64 size)
{
    while (size) {
        u64 done = call(WRITE, 1, (u64)data, size, 0, 0);
        if (failed(done))
            fail("cannot write");
        data += done;
        size -= done;
    }
}

/* What the kernel has said, without the "<6>" in front of each line. */
static struct bytes kernel_log(void)
{
    u64 most = call(SYSLOG, SIZE_BUFFER, 0, 0, 0, 0);
    u8 *text = failed(most) ? 0 : room(most), *out = text;
    u64 size = failed(most) ? most : call(SYSLOG, READ_CLEAR, (u64)text, most, 0, 0);
    if (failed(size))
        fail("no kernel log");
    int begins = 1;
    for (u64 i = 0; i < size; i++) {
        if (begins && text[i] == '<')
            while (++i < size && text[i] != '>')
                ;
        else
            *out++ = text[i];
        begins = text[i] == '\n';
    }
    return (struct bytes){text, (u64)(out - text)};
}

static u8 *put_number(u8 *to, u64 number, u8 after)
{
    u8 digits[20], *first = digits + sizeof digits;
    do
        *--first = (u8)('0' + number % 10);
    while (number /= 10);
    to = put(to, first, (u64)(digits + sizeof digits - first));
    *to = after;
    return to + 1;
}

/* The number that stands there, up to the character `after`; 0 when there is none. Goes behind that character. */
static u64 number(struct bytes file, u64 *at, u8 after)
{
    u64 value = 0;
    while (*at < file.size && file.at[*at] >= '0' && file.at[*at] <= '9' && value < 1000000)
        value = value * 10 + file.at[(*at)++] - '0';
    return *at < file.size && file.at[(*at)++] == after ? value : 0;
}

static int equal(const u8 *a, const u8 *b, u64 size)
{
    u64 i = 0;
    for (; i + 32 <= size; i += 32) {
        const u64 *x = (const u64 *)(a + i), *y = (const u64 *)(b + i);
        if ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]))
            return 0;
    }
    for (; i < size; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* A file as it stands in the stream. There must be room for it and a few bytes for each row. */
static u8 *put_file(u8 *to, const char *name, struct bytes file)
{
    u64 head = file.size, stride = 0, at = 3;
    if (file.size > 16 && file.at[0] == 'P' && file.at[1] == '6' && file.at[2] == '\n') {
        u64 width = number(file, &at, ' '), height = number(file, &at, '\n'), colours = number(file, &at, '\n');
        if (colours == 255 && width * 3 >= LEAST_STRIDE && height <= MOST_ROWS && at + height * width * 3 == file.size)
            head = at, stride = width * 3;
    }
    to = put(to, name, length(name));
    *to++ = ' ';
    to = put_number(to, file.size, ' ');
    to = put_number(to, head, ' ');
    to = put_number(to, stride, '\n');
    to = put(to, file.at, head);
    for (const u8 *row = file.at + head, *end = file.at + file.size; row < end;) {
        const u8 *next = row + stride;
        while (next < end && equal(row, next, stride))
            next += stride;
        u64 rows = (u64)(next - row) / stride;
        *to++ = (u8)rows;
        *to++ = (u8)(rows >> 8);
        to = put(to, row, stride);
        row = next;
    }
    return to;
}

static u8 *bits_to;
static u64 bits, bits_count;

static void put_bits(u64 value, u64 count)
{
    bits |= value << bits_count;
    bits_count += count;
    while (bits_count >= 8) {
        *bits_to++ = (u8)bits;
        bits >>= 8;
        bits_count -= 8;
    }
}

static void put_code(u64 code, u64 count) /* Huffman codes go highest bit first */
{
    u64 turned = 0;
    for (u64 i = 0; i < count; i++)
        turned |= (code >> i & 1) << (count - 1 - i);
    put_bits(turned, count);
}

/* A literal byte, the end (256) or a class of lengths, in deflate's fixed code. */
static void put_symbol(u64 symbol)
{
    if (symbol < 144)
        put_code(0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(symbol - 256, 7);
    else
        put_code(0xC0 + symbol - 280, 8);
}

static u64 highest_bit(u64 value)
{
    return 63 - (u64)__builtin_clzl(value);
}

static void put_match(u64 count, u64 distance)
{
    u64 rest = count - 3, extra = rest < 8 ? 0 : highest_bit(rest) - 2;
    if (count == LONGEST)
        put_symbol(285);
    else {
        put_symbol(257 + 4 * extra + (rest >> extra));
        put_bits(rest & ((1ul << extra) - 1), extra);
    }
    rest = distance - 1, extra = rest < 4 ? 0 : highest_bit(rest) - 1;
    put_code(2 * extra + (rest >> extra), 5);
    put_bits(rest & ((1ul << extra) - 1), extra);
}

static u32 word(const u8 *at)
{
    return *(const u32 *)at;
}

/* How many bytes are the same at both places, before `end`. */
static u64 same(const u8 *old, const u8 *new, const u8 *end)
{
    const u8 *start = new;
    for (; new + 8 <= end; old += 8, new += 8) {
        u64 differs = *(const u64 *)old ^ *(const u64 *)new;
        if (differs)
            return (u64)(new - start) + (u64)__builtin_ctzl(differs) / 8;
    }
    while (new < end && *old == *new)
        old++, new ++;
    return (u64)(new - start);
}

static void deflate(const u8 *start, const u8 *end)
{
    static u32 last[1 << HASH_BITS]; /* where four such bytes stood last, counted from 1 */
    const u8 *at = start;
    put_bits(3, 3); /* the last block, in the fixed code */
    while (at + SHORTEST <= end) {
        u32 *place = &last[word(at) * 2654435761u >> (32 - HASH_BITS)];
        const u8 *old = start + *place - 1;
        int seen = *place && at - old <= WINDOW && word(old) == word(at);
        *place = (u32)(at - start) + 1;
        if (!seen) {
            put_symbol(*at++);
            continue;
        }
        u64 left = same(old, at, end), distance = (u64)(at - old);
        at += left;
        for (; left >= SHORTEST; left -= left > LONGEST ? LONGEST : left) /* a rest too short for a match is left to come again */
            put_match(left > LONGEST ? LONGEST : left, distance);
        at -= left;
    }
    while (at < end)
        put_symbol(*at++);
    put_symbol(256);
    put_bits(0, -bits_count & 7);
}

static u32 checksum(const u8 *at, const u8 *end)
{
    u32 crc = ~0u;
    for (; at < end; at++) {
        crc ^= *at;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

static const char *name_of(const char *path)
{
    const char *name = path;
    while (*path)
        if (*path++ == '/')
            name = path;
    return name;
}

static void pack(char **words)
{
    struct bytes log = {0, 0}, files[MOST_FILES];
    u64 count = 0, most = 0;
    int logged = *words && (*words)[0] == '-';
    if (logged) {
        log = kernel_log();
        most += log.size + LINE;
        words++;
    }
    for (; words[count]; count++) {
        if (count == MOST_FILES)
            fail("too many files");
        files[count] = content(words[count]);
        most += files[count].size + files[count].size / LEAST_STRIDE * 2 + length(words[count]) + LINE;
    }
    u8 *start = room(most), *end = start;
    if (logged)
        end = put_file(end, "kernel.log", log);
    for (u64 i = 0; i < count; i++)
        end = put_file(end, name_of(words[i]), files[i]);
    u8 *packed = bits_to = room(most + most / 8 + LINE);
    deflate(start, end);
    u32 crc = checksum(packed, bits_to);
    bits_to = put(bits_to, &crc, sizeof crc);
    say(packed, (u64)(bits_to - packed));
}

static void reply(char **words)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct bytes file = content(words[2]);
    u8 *start = room(file.size / 3 * 4 + length(words[0]) + length(words[1]) + 16), *to = start;
    for (int i = 0; i < 2; i++) {
        to = put(to, words[i], length(words[i]));
        *to++ = ' ';
    }
    for (u64 at = 0; at < file.size; at += 3) {
        u64 left = file.size - at;
        u32 three = (u32)file.at[at] << 16;
        three |= left > 1 ? (u32)file.at[at + 1] << 8 : 0;
        three |= left > 2 ? file.at[at + 2] : 0;
        *to++ = (u8)digits[three >> 18];
        *to++ = (u8)digits[three >> 12 & 63];
        *to++ = left > 1 ? (u8)digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? (u8)digits[three & 63] : '=';
    }
    *to++ = '\n';
    say(start, (u64)(to - start));
}

__attribute__((used)) static void begin(u64 *stack)
{
    char **words = (char **)stack + 2; /* behind their number and the program's name */
    if (stack[0] == 5 && words[0][0] == '-' && words[0][1] == 'r')
        reply(words + 1);
    else
        pack(words);
    call(EXIT, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: xorl %ebp, %ebp\n movq %rsp, %rdi\n andq $-16, %rsp\n call begin\n");
