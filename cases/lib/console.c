#include "console.h"

#include <stdarg.h>

#include "cpu.h"
#include "ram_log.h"

enum { COM1 = 0x3F8 };
enum { DIVISOR_LOW = 0, DIVISOR_HIGH = 1, FIFO_CONTROL = 2, LINE_CONTROL = 3, MODEM_CONTROL = 4, LINE_STATUS = 5 };
enum { TRANSMITTER_EMPTY = 0x20, FIFO_BYTES = 16 };
enum { COLUMNS = 80, ROWS = 25, LIGHT_GREY = 0x07 };

static bool logging, aloud;

static volatile u16 *const text_memory = (volatile u16 *)0xB8000;

void console_start(bool in_ram)
{
    logging = in_ram;
    if (logging)
        ram_log_start();
    out8(COM1 + 1, 0); /* no interrupts */
    out8(COM1 + LINE_CONTROL, 0x80);
    out8(COM1 + DIVISOR_LOW, 1); /* 115200 baud */
    out8(COM1 + DIVISOR_HIGH, 0);
    out8(COM1 + LINE_CONTROL, 0x03); /* 8 bits, no parity, 1 stop bit */
    out8(COM1 + FIFO_CONTROL, 0x07); /* FIFOs on and empty */
    out8(COM1 + MODEM_CONTROL, 0x03);
    /* One string instruction: where video memory is emulated, each store of a loop would be a VM exit. */
    fill32((void *)text_memory, (LIGHT_GREY << 8 | ' ') * 0x00010001u, COLUMNS * ROWS / 2);
    /* Cursor off, or the picture of a row would depend on when it is taken. */
    out8(0x3D4, 0x0A);
    out8(0x3D5, 0x20);
}

/* An empty FIFO takes 16 bytes without a further look at the line status: each port access is a VM exit under KVM. */
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

/* A whole line is gathered before it is sent, for each look at the line status costs, too. */
static char line[1024];
static u32 line_length;

static void flush(void)
{
    if (logging)
        ram_log_add(line, line_length);
    if (!logging || aloud)
        send(line, line_length);
    line_length = 0;
}

void console_dot(void)
{
    if (logging)
        send(".", 1);
}

void console_aloud(void)
{
    aloud = true;
    if (logging)
        send("\n", 1);
}

static void put(char byte)
{
    line[line_length++] = byte;
    if (byte == '\n' || line_length == sizeof line)
        flush();
}

static void put_hexadecimal(u64 value)
{
    int shift = 60;
    put('0');
    put('x');
    while (shift && !(value >> shift & 15))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

static void put_decimal(u32 value)
{
    char digits[10];
    unsigned count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        put(digits[--count]);
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
        } else if (format[1] == 's') {
            format += 1;
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(*text);
        } else if (format[1] == 'u') {
            format += 1;
            put_decimal(va_arg(arguments, u32));
        } else if (format[1] == '#' && format[2] == 'x') {
            format += 2;
            put_hexadecimal(va_arg(arguments, u32));
        } else if (format[1] == '#' && format[2] == 'l' && format[3] == 'l' && format[4] == 'x') {
            format += 4;
            put_hexadecimal(va_arg(arguments, u64));
        } else {
            put('%'); /* any other directive is printed as it is */
        }
    }
    va_end(arguments);
}

void show(unsigned row, unsigned column, const char *word)
{
    for (volatile u16 *cell = text_memory + row * COLUMNS + column; *word; cell++, word++)
        *cell = (u16)(LIGHT_GREY << 8 | (u8)*word);
}
