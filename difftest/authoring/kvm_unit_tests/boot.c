/*
 * Linked into each image of kvm-unit-tests, in front of functions of the same names (ld --wrap). It lets the suite run
 * where there is no fw_cfg and no port 0xF4 and where a local APIC that was switched off stays off, leaves the lines in
 * RAM, and lets single tests be switched off. No test is changed.
 *
 * EXCLUDED has for each of the TESTS of the image, in the order of the selection's bits, the word that switches it off,
 * and a comma.
 */
#define IA32_APIC_BASE 0x1b
#define X2APIC_ENABLED (1u << 10)
#define COM1 0x3f8
#define TRANSMITTER_EMPTY 0x20
#define MOST_WORDS 99 /* the suite has room for 100, the last one empty */
#define LINES_A_DOT 32
#define LOG_BYTES 0x100000
#define TEXT(number) TEXT_(number)
#define TEXT_(number) #number

extern int printf(const char *format, ...);
extern int __argc;
extern const char *__argv[];

int __real_main(int argc, const char **argv, const char **environ);
void __real_puts(const char *text);
void __real_reset_apic(void);
int __real_enable_x2apic(void);
void __real___setup_args(void);

int __wrap_main(int argc, const char **argv, const char **environ);
void __wrap_puts(const char *text);
void __wrap_exit(int code);
void __wrap_reset_apic(void);
int __wrap_enable_x2apic(void);
void __wrap___setup_args(void);

struct ram_log {
	char magic[16];
	unsigned int written;
	char lines[LOG_BYTES - 20];
};

struct ram_log difftest_ram_log;
static const char *const excluded[] = { EXCLUDED 0 };

/* As that of images that are built with the kit; in assembly, where an address is a number of 32 bits. */
extern volatile struct parameters {
	char magic[16];
	unsigned int version, tests;
	unsigned char selected[64];
	unsigned int in_ram, log_address, log_bytes;
} difftest_parameters;
__asm__(".pushsection .data\n"
	"	.balign 16\n"
	"difftest_parameters:\n"
	"	.asciz \"DIFFTEST-PARAMS\"\n"
	"	.long 2, " TEXT(TESTS) "\n"
	"	.fill 64, 1, 0xff\n"
	"	.long 0, difftest_ram_log, " TEXT(LOG_BYTES) "\n"
	".popsection");

volatile int difftest_resets_apic; /* see apic.h */
static volatile int in_main;

static unsigned char in8(unsigned short port)
{
	unsigned char value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void send(char byte)
{
	while (!(in8(COM1 + 5) & TRANSMITTER_EMPTY))
		;
	__asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"((unsigned short)COM1));
}

/* What does not fit is left out: the last lines are missing then, and the tester sees that. */
static void log_add(const char *text)
{
	static const char magic[16] = "DIFFTEST-RAMLOG";
	static unsigned int lines;
	unsigned int at, length = 0;

	for (at = 0; at < sizeof(magic); at++)
		difftest_ram_log.magic[at] = magic[at];
	while (text[length])
		length++;
	at = __atomic_load_n(&difftest_ram_log.written, __ATOMIC_SEQ_CST);
	do {
		if (length > sizeof(difftest_ram_log.lines) - at)
			return;
	} while (!__atomic_compare_exchange_n(&difftest_ram_log.written, &at, at + length, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	while (*text) {
		difftest_ram_log.lines[at++] = *text;
		if (*text++ == '\n' && __atomic_add_fetch(&lines, 1, __ATOMIC_SEQ_CST) % LINES_A_DOT == 0)
			send('.'); /* the tester sees that it goes on */
	}
}

/* Where a test with lines of its own begins. */
static int is_heading(const char *text)
{
	static const char heading[] = "Test suite: ";

	while (*text == '\n')
		text++;
	for (unsigned int at = 0; heading[at]; at++)
		if (text[at] != heading[at])
			return 0;
	return 1;
}

/* A heading goes to COM1, too: should the emulator die with its guest, it is known in which test. */
void __wrap_puts(const char *text)
{
	if (!difftest_parameters.in_ram || is_heading(text))
		__real_puts(text);
	if (difftest_parameters.in_ram)
		log_add(text);
}

/* In xAPIC mode a reset leaves the enable flag set: nothing else of it is left out. */
void __wrap_reset_apic(void)
{
	unsigned int low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(IA32_APIC_BASE));
	int xapic = !(low & X2APIC_ENABLED);
	__atomic_add_fetch(&difftest_resets_apic, xapic, __ATOMIC_SEQ_CST);
	__real_reset_apic();
	__atomic_sub_fetch(&difftest_resets_apic, xapic, __ATOMIC_SEQ_CST);
}

/* No way leads back from x2APIC mode but through the enable flag: tests may go there, the start of an image does not. */
int __wrap_enable_x2apic(void)
{
	return in_main ? __real_enable_x2apic() : 0;
}

int __wrap_main(int argc, const char **argv, const char **environ)
{
	in_main = 1;
	return __real_main(argc, argv, environ);
}

/* The suite's own writes to ports 0xF4 and 0x8900: Bochs would be gone then, with the last line's end. */
void __wrap_exit(int code)
{
	printf("\ndifftest exit %d\n", code);
	if (difftest_parameters.in_ram) {
		difftest_parameters.in_ram = 0;
		printf("\ndifftest exit %d\n", code);
	}
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

void __wrap___setup_args(void)
{
	__real___setup_args();
	for (unsigned int test = 0; excluded[test] && __argc < MOST_WORDS; test++)
		if (!(difftest_parameters.selected[test / 8] & 1 << test % 8))
			__argv[__argc++] = excluded[test];
}
