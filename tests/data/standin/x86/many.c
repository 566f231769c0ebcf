#include "suite.h"

extern struct test many_tests[];

int main(int argc, char **argv)
{
	for (struct test *test = many_tests; test->name; test++) {
		int wanted = 1;

		for (int word = 1; word < argc; word++)
			if (argv[word][0] == '-' && same(argv[word] + 1, test->name))
				wanted = 0;
		if (!wanted)
			continue;
		printf("\nTest suite: %s\n", test->name);
		test->run();
	}
	return report_summary();
}
