"""Faults put into KVM's sources one at a time, and whether the bundled cases find them: `python -m tests.planted`."""
