#include "suite.h"

#define TEST(name) { #name, name }

static void first_test(void)
{
	report(1, "before it");
}

static void ends_test(void)
{
	report(1, "at its beginning");
	printf("Unhandled: this test gives up\n");
	exit(63);
}

static void left_out_test(void)
{
	report(0, "never run");
}

static void last_test(void)
{
	report(1, "after it");
}

struct test many_tests[] = {
	TEST(first_test),
	TEST(ends_test),
	TEST(left_out_test),
	TEST(last_test),
	{ 0, 0 },
};
