"""kvm-unit-tests as a suite of cases: its list of tests read, its images built beside it, and each made a case."""
