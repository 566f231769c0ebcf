"""A disk that is full, read-only or broken at any file operation of a command: never our fault, never a wrong word."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from difftest.verdict import ExitCode

from . import faults

# The other errors take as long again, each: one command shows them in `make test`, the rest are proofs.
MORE = {name: [] if name == "fetch a kernel" else [pytest.mark.proof] for name in faults.SCENARIOS}
FAULTS = [
    *(pytest.param(name, errno.ENOSPC, id=f"{name}, ENOSPC") for name in faults.SCENARIOS),
    *(
        pytest.param(name, error, id=f"{name}, {errno.errorcode[error]}", marks=marks)
        for name, marks in MORE.items()
        for error in (errno.EROFS, errno.EIO, errno.EMFILE)
    ),
]


@pytest.mark.parametrize(("scenario", "error"), FAULTS)
def test_a_disk_that_fails_at_any_operation_is_the_machines_fault(tmp_path: Path, scenario: str, error: int) -> None:
    *failed, fine = faults.every_fault(scenario, error, tmp_path)
    assert fine.code not in (ExitCode.HOST, ExitCode.INTERNAL), fine
    assert len(failed) > 1 and any(attempt.code == ExitCode.HOST for attempt in failed)
    for attempt in failed:
        if error == errno.ENOSPC and attempt.code:  # a broken disk cannot be swept
            left = (tmp_path / f"{error}-{attempt.nth}/cache/kernels").glob("*")
            assert all(path.name.startswith(".lock-") for path in left), "what was half made is gone"
        # What can be done without, such as a cached answer, is left out.
        assert attempt.code in (ExitCode.HOST, fine.code), attempt
        assert "Traceback" not in attempt.said and "difftest itself failed" not in attempt.said
        if attempt.code == ExitCode.HOST:
            assert re.search(r"^error: .+\nhint: .+$", attempt.said, re.MULTILINE), attempt
