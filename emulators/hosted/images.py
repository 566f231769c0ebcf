"""The images in an appliance: files named by their hashes, and more of them made by patching."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emulators.host.errors import EmulatorError
from emulators.hosted.appliance.machine import ApplianceMachine
from emulators.observation import Boot

MOST_CHANGES = (
    64  # bytes in which an image may differ from one that the appliance has: the size of a selection of checks
)


def disks(boot: Boot) -> dict[str, Path]:
    """The images of a boot by their hashes, the one it starts from first."""
    return {boot.image_sha256: boot.image, **({boot.second_sha256: boot.second} if boot.second else {})}


def file_name(digest: str) -> str:
    return f"{digest[:16]}.img"


def _changes(base: bytes, wanted: bytes) -> list[int] | None:
    """The places at which `wanted` differs from `base`; None when the two are not nearly the same."""
    if len(base) != len(wanted):
        return None
    places = [at for at, (old, new) in enumerate(zip(base, wanted, strict=True)) if old != new]
    return places if len(places) <= MOST_CHANGES else None


async def hand_in(machine: ApplianceMachine, images: Mapping[str, Path], boot: Boot) -> None:
    """Make an image that was not there at the start out of one of `images` (by their hashes) that differs little.

    Raises EmulatorError when there is none: only images of the session's boots, and selections of them, can be
    booted.
    """
    wanted = boot.image.read_bytes()
    for digest, path in images.items():
        changes = _changes(path.read_bytes(), wanted)
        if changes is not None:
            base, new = (f"/cases/{file_name(name)}" for name in (digest, boot.image_sha256))
            patch = "printf '\\{:03o}' | busybox dd of={} bs=1 seek={} conv=notrunc"
            patches = [patch.format(wanted[at], new, at) for at in changes]
            code, said = await machine.ask("; ".join([f"busybox cp {base} {new}", *patches]))
            if code:
                raise EmulatorError(
                    "the image cannot be patched in the appliance", evidence=said.decode(errors="replace")
                )
            return
    raise EmulatorError("the appliance was not started with an image that this one can be made of")
