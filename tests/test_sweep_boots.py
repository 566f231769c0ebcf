"""Sweeps on real emulators: few vectors, as what is found where is in docs/sweep.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from difftest.sweeping.engine import SweepSide
from difftest.sweeping.generate import vectors
from difftest.sweeping.image import build
from difftest.sweeping.model import RULES, expect
from difftest.sweeping.outcomes import digests
from difftest.sweeping.table import TABLE
from emulators.host.files import cache_folder
from emulators.hosted.target import KvmHosted

COUNT = 3000


@pytest.mark.boots
@pytest.mark.parametrize("family", TABLE.families)
async def test_bochs_does_what_the_model_of_the_sdm_allows(family: str, tmp_path: Path) -> None:
    """But for what is known of it: it loads the PDPTEs at every MOV to CR0 and LMSW in PAE paging. The same vectors in
    full have the digests that they have among others; and each rule left out of the model is noticed.
    """
    host = KvmHosted().host_cpu()
    host.prepare(lambda line: None)
    side = SweepSide("cpu", host, build(cache_folder(), tmp_path), lambda line: None)
    facts = await side.facts()
    number = TABLE.families[family]
    piece = await side.piece(family, 1, 0, COUNT, facts)
    assert not piece.deaths and not piece.unrun
    made = vectors(number, 1, 0, COUNT, facts)
    expected = expect(number, made, facts)
    seen = piece.bytes_()
    other = seen != (digests(expected.rows) >> np.uint64(56)).astype(np.int16)
    known = np.isin(made.op, [TABLE.ops["mov-cr0"], TABLE.ops["lmsw"]])
    assert not (other & ~known).any() if family == "pdpte-loads" else not other.any()
    asked = made.take(range(500))
    rows = await side.outcomes(family, asked)
    assert ((digests(rows) >> np.uint64(56)).astype(np.int16) == seen[:500]).all()
    for bit, left_out in enumerate(RULES):
        alone = expected.broken == np.uint64(1 << bit)
        if alone.any():
            mutant = expect(number, made, facts, [rule for rule in RULES if rule is not left_out])
            changed = (digests(mutant.rows) >> np.uint64(56)).astype(np.int16) != seen
            assert (changed & alone & ~other).any(), left_out.id
