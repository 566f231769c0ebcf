#include "console.h"

#include <stdarg.h>

#include "cpu.h"

enum { COM1 = 0x3F8, DIVISOR_LOW = 0, DIVISOR_HIGH = 1, FIFO_CONTROL = 2, LINE_CONTROL = 3, MODEM_CONTROL = 4, LINE_STATUS = 5 };
enum { TRANSMITTER_EMPTY = 0x20, FIFO_BYTES = 16 };
enum { COLUMNS = 80, ROWS = 25, LIGHT_GREY = 0x07 };

static volatile u16 *const text_memory = (volatile u16 *)0xB8000;

void console_start(void)
{
    out8(COM1 + 1, 0); /* no interrupts */
    out8(COM1 + LINE_CONTROL, 0x80);
    out8(COM1 + DIVISOR_LOW, 1); /* 115200 baud */
    out8(COM1 + DIVISOR_HIGH, 0);
    out8(COM1 + LINE_CONTROL, 0x03); /* 8 bits, no parity, 1 stop bit */
    out8(COM1 + FIFO_CONTROL, 0x07); /* FIFOs on and empty */
    out8(COM1 + MODEM_CONTROL, 0x03);
    for (unsigned cell = 0; cell < COLUMNS * ROWS; cell++)
        text_memory[cell] = LIGHT_GREY << 8 | ' ';
    /* The cursor off, or the picture of a row would depend on when it is taken. */
    out8(0x3D4, 0x0A);
    out8(0x3D5, 0x20);
}

/* With an empty FIFO 16 bytes may go without a further look at the line status: each port access is a VM exit under KVM. */
static void send(const char *bytes, u32 count)
{
    while (count) {
        u32 burst = count < FIFO_BYTES ? count : FIFO_BYTES;
        while (!(in8(COM1 + LINE_STATUS) & TRANSMITTER_EMPTY))
            ;
        out8_string(COM1, bytes, burst);
        bytes += burst;
        count -= burst;
    }
}

struct line {
    char bytes[1024];
    u32 length;
};

static void put(struct line *line, char byte)
{
    if (line->length == sizeof line->bytes) {
        send(line->bytes, line->length);
        line->length = 0;
    }
    line->bytes[line->length++] = byte;
}

static void put_hexadecimal(struct line *line, u64 value)
{
    int shift = 60;
    put(line, '0');
    put(line, 'x');
    while (shift && !(value >> shift & 15))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put(line, "0123456789abcdef"[value >> shift & 15]);
}

static void put_decimal(struct line *line, u32 value)
{
    char digits[10];
    unsigned count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        put(line, digits[--count]);
}

void say(const char *format, ...)
{
    static struct line line;
    va_list arguments;
    line.length = 0;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(&line, *format);
            continue;
        }
        switch (*++format) {
        case 's':
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(&line, *text);
            break;
        case 'd':
            put_decimal(&line, va_arg(arguments, u32));
            break;
        case 'x':
            put_hexadecimal(&line, va_arg(arguments, u32));
            break;
        case 'X':
            put_hexadecimal(&line, va_arg(arguments, u64));
            break;
        default:
            put(&line, *format);
        }
    }
    va_end(arguments);
    send(line.bytes, line.length);
}

void show(unsigned row, unsigned column, const char *word)
{
    for (volatile u16 *cell = text_memory + row * COLUMNS + column; *word; cell++, word++)
        *cell = (u16)(LIGHT_GREY << 8 | (u8)*word);
}
