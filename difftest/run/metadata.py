"""What a run says of itself beside its boots: the contents of run.json, case.json and refusals.json."""

from __future__ import annotations

import msgspec

from difftest.case.manifest import About
from difftest.verdict import Verdict
from emulators.observation import Medium
from emulators.target import Names

SCHEMA = 2


class HostCpuTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The emulated CPU under a subject: as a target of its own, or why it could not be had."""

    target: str = ""
    missing: str = ""


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """run.json."""

    schema: int = SCHEMA
    run: str
    tool_version: str
    command: list[str]
    started: str  # ISO 8601, UTC
    ended: str = ""
    series: str = ""  # what the runs of one command have in common that ran several versions; "" for a single run
    status: str = "running"  # running, finished, interrupted
    host: dict[str, str] = {}
    reference: str
    targets: dict[str, Names]
    identities: dict[str, dict[str, str]]
    hosts: dict[str, HostCpuTarget] = {}  # by subject: the emulated CPU under it
    idle: dict[str, list[str]] = {}  # capabilities of the targets whose implementation took no part

    @property
    def host_targets(self) -> set[str]:
        """The names of the targets that took part only as the CPU under another."""
        return {host.target for host in self.hosts.values() if host.target}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a case was not booted on a target: a capability is missing, or the target could not be used."""

    target: str
    verdict: Verdict
    reason: str


class CaseSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """case.json."""

    name: str
    title: str = ""
    manifest: str = ""  # the text of case.toml, "" for a bare image
    image_sha256: str
    image_bytes: int
    argument: str  # what `difftest run` takes to run this case again
    checks: list[About] = []  # that were switched on
    whole: bool = True  # these are all checks of the image
    medium: Medium = Medium.DISK
    cdrom: bool = False  # the same of a CD, as it was said before there were floppies
    options: list[str] = []  # of `difftest run`, beside the argument, for an image without a manifest
    second_sha256: str = ""  # of a second disk, which is not kept

    @property
    def boots_from(self) -> Medium:
        return Medium.CDROM if self.cdrom else self.medium
