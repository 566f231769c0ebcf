#include "suite.h"

struct multiboot {
	unsigned int flags, memory[2], device;
	char *command_line;
	unsigned int modules;
	char **module;
};

int __argc;
char *__argv[100];
static char *environment, *environment_end;

int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

void setup(struct multiboot *from, char **command_line)
{
	*command_line = from->command_line;
	if (from->modules)
		environment = from->module[0], environment_end = from->module[1];
}

static char *words;

void take_words(char *from)
{
	words = from;
}

void __setup_args(void)
{
	for (char *at = words; *at;) {
		__argv[__argc++] = at;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			*at++ = '\0';
	}
}

/* -1 where the environment has no such name. */
int number_in_environment(const char *name)
{
	for (char *at = environment; at && at < environment_end; at++) {
		const char *letter = name;

		while (*letter && *at == *letter)
			at++, letter++;
		if (!*letter && *at == '=') {
			int number = 0;

			for (at++; *at >= '0' && *at <= '9'; at++)
				number = 10 * number + *at - '0';
			return number;
		}
		while (at < environment_end && *at != '\n')
			at++;
	}
	return -1;
}
