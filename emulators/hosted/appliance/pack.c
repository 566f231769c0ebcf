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

#include "deflate.h"
#include "freestanding.h"

enum { SYSLOG = 103, READ_CLEAR = 4, SIZE_BUFFER = 10 }; /* a system call, and what it is for */
enum { MOST_ROWS = 65535, LEAST_STRIDE = 64 };
enum { MOST_FILES = 64, LINE = 128 }; /* a line's bytes without the name, at most */

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
    write_all(1, packed, (u64)(bits_to - packed));
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
    write_all(1, start, (u64)(to - start));
}

void begin(u64 *stack)
{
    char **words = (char **)stack + 2; /* behind their number and the program's name */
    if (stack[0] == 5 && words[0][0] == '-' && words[0][1] == 'r')
        reply(words + 1);
    else
        pack(words);
    call(EXIT, 0, 0, 0, 0, 0);
}
