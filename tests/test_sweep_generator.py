"""The generator of vectors in the image and the one here: the same table, the same vectors."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from difftest.image.build import KIT
from difftest.sweeping.generate import vectors
from difftest.sweeping.table import TABLE, WORDS, header
from difftest.sweeping.vectors import VectorFacts, unpacked

FACTS = [
    VectorFacts(cr4_supported=0x3727FF, efer_supported=0xD01, physical_address_bits=39),
    VectorFacts(
        cr4_supported=0x7767FF, efer_supported=0x501, physical_address_bits=46, cr4_excluded=0x4800, efer_excluded=1
    ),
]
COUNT = 100_000


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """vector.c of the kit, compiled for this machine."""
    library = tmp_path_factory.mktemp("vector") / "vector.so"
    argv = ["gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-Wno-pointer-to-int-cast", str(KIT / "vector.c")]
    subprocess.run([*argv, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def _by_c(compiled: ctypes.CDLL, family: int, seed: int, first: int, count: int, facts: VectorFacts) -> bytes:
    size = 8 + 8 * WORDS
    buffer = ctypes.create_string_buffer(size * count)
    words = (ctypes.c_uint64 * 5)(
        facts.cr4_supported,
        facts.cr4_excluded,
        facts.efer_supported,
        facts.efer_excluded,
        facts.physical_address_bits,
    )
    address = ctypes.addressof(buffer)
    make = compiled.vector_make
    make.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p]
    for number in range(count):
        make(address + size * number, family, seed, first + number, words)
    return buffer.raw


def test_the_header_is_what_the_table_gives() -> None:
    assert (KIT / "vector_table.h").read_text() == header(), "python -m difftest.sweeping.table > cases/lib/..."


@pytest.mark.parametrize("family", TABLE.families)
@pytest.mark.parametrize("facts", FACTS, ids=["plain", "excluded"])
def test_c_and_python_make_the_same_vectors(compiled: ctypes.CDLL, family: str, facts: VectorFacts) -> None:
    number, seed, first = TABLE.families[family], 0x1234_5678_9ABC_DEF0, 1 << 33
    made = vectors(number, seed, first, COUNT, facts)
    assert _by_c(compiled, number, seed, first, COUNT, facts) == made.packed()
    assert np.unique(made.words, axis=1).shape[1] > COUNT // 20, "most vectors differ"
    assert len(set(made.base.tolist())) >= 3 and len(set(made.op.tolist())) >= 5


def test_a_vector_depends_on_its_number_alone() -> None:
    whole = vectors(0, 7, 0, 1000, FACTS[0])
    assert vectors(0, 7, 700, 50, FACTS[0]).packed() == whole.take(range(700, 750)).packed()
    assert vectors(0, 8, 0, 1000, FACTS[0]).packed() != whole.packed()


def test_excluded_bits_are_left_alone() -> None:
    facts = FACTS[1]
    made = vectors(0, 3, 0, COUNT, facts)
    to_cr4 = made.op == TABLE.ops["mov-cr4"]
    assert not (made.words[3][to_cr4] & np.uint64(facts.cr4_excluded)).any()
    assert (vectors(0, 3, 0, COUNT, FACTS[0]).words[3][to_cr4] & np.uint64(facts.cr4_excluded)).any()


def test_packed_vectors_come_back() -> None:
    made = vectors(1, 5, 9, 40, FACTS[0])
    assert unpacked(made.packed()).packed() == made.packed()
