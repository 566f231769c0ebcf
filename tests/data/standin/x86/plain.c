#include "suite.h"

int main(int argc, char **argv)
{
	report(number_in_environment("NR_CPUS") == 1, "the environment says that there is one CPU");
	report(apic_version() != 0xff, "the local APIC answers");
	report(argc == 2 && same(argv[1], "word"), "the words of the list came along");
	return report_summary();
}
