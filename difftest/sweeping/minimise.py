"""Making findings small: all candidates of a round, of all findings of a family, in one boot of each side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from difftest.sweeping.edits import Edits
from difftest.sweeping.findings import Signature, SweepFinding, signatures
from difftest.sweeping.vectors import U64, VectorFacts, Vectors, joined

MOST_ROUNDS = 4
MOST_CANDIDATES = 1000
Ask = Callable[[Vectors], Awaitable[tuple[U64, U64]]]  # the rows of the CPU under KVM, and of KVM


async def minimised(family: str, found: Sequence[SweepFinding], facts: VectorFacts, ask: Ask) -> list[SweepFinding]:
    """The findings with as few changes as show the same signature on both sides.

    A round takes away, of each finding, each word's changes, halves of them and single bits, and then all at once that
    could go alone.
    """
    small = list(found)
    for _ in range(MOST_ROUNDS):
        tried = [(place, edits) for place, one in enumerate(small) for edits in _smaller(one)][:MOST_CANDIDATES]
        good = await _same(family, small, tried, facts, ask)
        if not good:
            break
        combined = [(place, edits) for place in range(len(small)) for edits in _combined(small[place], good, place)]
        better = await _same(family, small, combined, facts, ask)
        for place, one in [*good, *better]:
            if one.edits.count < small[place].edits.count:
                small[place] = one
    return merged(small)


def _smaller(one: SweepFinding) -> list[Edits]:
    return [edits for edits in one.edits.smaller() if edits.valid]


def _combined(one: SweepFinding, good: Sequence[tuple[int, SweepFinding]], place: int) -> list[Edits]:
    """All that could be taken away alone, taken away together; in two orders, where not all of it can."""
    removals = [_taken(one.edits, smaller.edits) for number, smaller in good if number == place]
    everything = one.edits
    for removal in removals:
        for name, bits in removal.items():
            if name in everything.changes:
                everything = everything.without(name, bits)
    found = [everything]
    for forward in (removals, removals[::-1]):
        kept = one.edits
        for removal in forward[: max(1, len(forward) // 2)]:
            for name, bits in removal.items():
                if name in kept.changes:
                    kept = kept.without(name, bits)
        found.append(kept)
    return [edits for edits in found if edits.valid]


def _taken(before: Edits, after: Edits) -> dict[str, int]:
    """What was taken away, by word."""
    changes = {name: mask & ~after.changes.get(name, 0) for name, mask in before.changes.items()}
    return {name: bits for name, bits in changes.items() if bits}


async def _same(
    family: str, found: Sequence[SweepFinding], tried: Sequence[tuple[int, Edits]], facts: VectorFacts, ask: Ask
) -> list[tuple[int, SweepFinding]]:
    """Those of the candidates that have the signature of the finding that they come from."""
    if not tried:
        return []
    vectors = joined([edits.vector() for _, edits in tried])
    judged = signatures(family, vectors, facts, *await ask(vectors))
    kept = []
    for (place, edits), (signature, cpu, kvm, sdm) in zip(tried, judged, strict=True):
        if same_kind(signature, found[place].signature):
            shown = {"signature": signature, "edits": edits, "cpu": cpu, "kvm": kvm, "sdm": sdm}
            kept.append((place, msgspec.structs.replace(found[place], **shown)))
    return kept


def same_kind(smaller: Signature, before: Signature) -> bool:
    """Whether the good side stays good and the bad one stays bad in the same way. Rules that are violated beside the
    one that matters may go.
    """
    plain = msgspec.structs.replace(smaller, broken=before.broken)
    return plain == before and set(smaller.broken) <= set(before.broken)


def merged(found: Sequence[SweepFinding]) -> list[SweepFinding]:
    """Findings whose signatures have become the same, as one."""
    by_signature: dict[Signature, SweepFinding] = {}
    for one in sorted(found, key=lambda finding: finding.edits.count):
        other = by_signature.get(one.signature)
        by_signature[one.signature] = (
            one
            if other is None
            else msgspec.structs.replace(
                other,
                count=other.count + one.count,
                first=min(other.first, one.first),
                numbers=tuple(sorted({*other.numbers, *one.numbers}))[:16],
            )
        )
    return list(by_signature.values())
