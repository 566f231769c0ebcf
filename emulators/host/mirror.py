"""The mirror that this host gets its packages from, and the Debian suites on it, the host's own and all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from emulators.host.apt import QUERY_SECONDS, AptSuite, MirrorUnreachable, Package, SuiteMissing, apt, apt_of_host
from emulators.host.errors import ChoiceError, EmulatorError, Progress
from emulators.host.files import writing_below

CODENAMES = ("bullseye", "bookworm", "trixie", "forky")
SUITES = (*(f"{name}{part}" for name in CODENAMES for part in ("", "-security", "-backports")), "sid", "experimental")
HOST = "host"  # the name of what the host's own apt knows
OWN_NAMES = re.compile(
    r"(?:bullseye|bookworm|trixie|forky|sid|unstable|testing|stable|oldstable)(-security)?(?:/updates)?"
)
CACHED = "cache"  # the suite of what a cache has
FRESH_SECONDS = 24 * 3600.0
SIDE_BY_SIDE = 4
MOST_SHOWN = 12  # versions in a message


class Archives(msgspec.Struct, frozen=True, kw_only=True):
    """Where the host gets Debian from. `security` is empty when its configuration names no security archive."""

    main: str
    security: str = ""


def archives(configuration: Path | None = None, cache: Path | None = None) -> Archives:
    """The host's Debian mirror, as apt itself reads sources.list and sources.list.d (one-line and deb822, switched-off
    entries left out). `configuration` is an apt.conf to be read instead of the host's.

    Raises EmulatorError when no source of Debian's own suites is configured.
    """
    form = "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)"
    argv = ["apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages", "Component: main"]
    found: dict[bool, list[tuple[bool, str]]] = {False: [], True: []}
    said = apt_of_host(argv, cache, configuration) if cache else apt(argv, QUERY_SECONDS, configuration=configuration)
    for line in said.splitlines():
        uri, suite, origin, _ = line.split("|")
        match = OWN_NAMES.fullmatch(suite)
        if match and not uri.startswith("cdrom:"):
            # Others name their suites as Debian does: first comes who says to be Debian, then who has it in the path.
            stranger = origin != "Debian" and not re.search(r"/debian(-security)?/?$", uri)
            found[bool(match.group(1))].append((stranger, uri))
    if not found[False]:
        raise EmulatorError("this host's apt has no source of Debian's own suites", hint="see /etc/apt/sources.list.d")
    main, security = (min(found[part], key=lambda pair: pair[0], default=(True, ""))[1] for part in (False, True))
    return Archives(main=main, security=security)


class Mirror:
    """All suites of the mirror. Lists are fetched when they are first asked for, and kept for a day."""

    def __init__(self, cache: Path, say: Progress) -> None:
        """`cache` is the folder below which the apt directories lie. Nothing is fetched yet."""
        self._cache = cache / "apt"
        self._say = say
        self._looked = False
        self.host = AptSuite(HOST, self._cache / HOST)
        self.suites: list[AptSuite] = []
        self.problems: dict[str, str] = {}  # suite -> why there is nothing, or nothing new, of it

    def packages(self, pattern: str) -> list[Package]:
        """Packages whose name matches, of all suites and of what the host's own apt knows, the oldest version first,
        each once.
        """
        self.look()
        found: dict[tuple[str, str], Package] = {}
        for suite in (*self.suites, self.host):
            for package in suite.packages():
                if re.fullmatch(pattern, package.name):
                    found.setdefault((package.name, package.version), package)
        return by_version(found.values())

    def suite(self, name: str) -> AptSuite:
        return self.host if name == HOST else next(suite for suite in self.suites if suite.name == name)

    def troubles(self) -> str:
        """Why some suites could not be looked into, a line each; "" when all could."""
        reasons: dict[str, list[str]] = {}
        for suite, reason in self.problems.items():
            reasons.setdefault(reason, []).append(suite)
        return "\n".join(f"{', '.join(suites)}: {reason}" for reason, suites in reasons.items())

    def look(self, *, update: bool = False) -> None:
        """Have lists of today, or with `update` of now. What cannot be had is in `problems`; raises EmulatorError
        only when the host's apt has no mirror.
        """
        if self._looked and not update:
            return
        found = archives(cache=self._cache)
        self.suites = [
            AptSuite(name, self._cache / name, found.security if name.endswith("-security") else found.main)
            for name in SUITES
            if found.security or not name.endswith("-security")
        ]
        with writing_below(self._cache, "package lists"):
            self._cache.mkdir(parents=True, exist_ok=True)
            from filelock import FileLock  # slow to load; most runs take no lock

            with FileLock(self._cache / ".lock"):
                self._refresh([suite for suite in self.suites if update or suite.age() > FRESH_SECONDS], found)
        for suite in self.suites:
            if suite.missing:
                self.problems[suite.name] = "not on this mirror"
        self._looked = True

    def _refresh(self, old: Sequence[AptSuite], found: Archives) -> None:
        """Fetch the lists of these suites, side by side."""
        if not old:
            return
        self._say(f"fetching the package lists of {len(old)} suites from {found.main}")
        # The first one alone: a mirror that is down is waited for once.
        down = self._update(old[0])
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(lambda suite: self._fail(suite, down) if down else self._update(suite), old[1:]))

    def _update(self, suite: AptSuite) -> str:
        """Fetch one suite's lists. The answer is "", or why the mirror gives none to anybody."""
        try:
            suite.update()
        except SuiteMissing:
            pass
        except EmulatorError as error:
            self._fail(suite, f"{error}")
            return f"{error}" if isinstance(error, MirrorUnreachable) else ""
        return ""

    def _fail(self, suite: AptSuite, reason: str) -> str:
        self.problems[suite.name] = reason + ("; older lists are used" if suite.known else "")
        return reason


def by_version(packages: Iterable[Package]) -> list[Package]:
    """Oldest first, as dpkg compares versions."""
    some = list(packages)
    if len(some) < 2:
        return some
    from debian.debian_support import NativeVersion  # slow to load; a run that fetches nothing compares none

    return sorted(some, key=lambda package: (NativeVersion(package.version), package.name))


def is_version(version: str, wanted: str) -> bool:
    """Whether `wanted` is a version or its beginning, cut between numbers: "6.1" means 6.1.176-1 and not 6.12.74."""
    rest = version[len(wanted) :]
    return version.startswith(wanted) and not (wanted[-1:].isdigit() and rest[:1].isdigit())


def latest(
    mirror: Mirror, available: Callable[[Mirror], list[Package]], wanted: str, refusal: str, cached: Sequence[Package]
) -> Package:
    """The newest of the available packages that is of this version, or of one that begins so. What is `cached` will do
    where the mirror fails.

    Raises ChoiceError(refusal) with the versions that there are, or EmulatorError(refusal) with why some suites could
    not be looked into.
    """
    there = available(mirror)
    hits = [package for package in (*by_version(cached), *there) if is_meant(package, wanted)]
    if hits:
        return next((package for package in hits if package.version == wanted), hits[-1])
    versions = list(dict.fromkeys(package.version for package in there))
    shown = ", ".join(versions[-MOST_SHOWN:]) or "none"
    kind = EmulatorError if mirror.problems else ChoiceError  # a suite that does not answer may have it
    raise kind(
        refusal,
        hint=f"there are: {shown}{' and older ones' * (len(versions) > MOST_SHOWN)}",
        evidence=mirror.troubles(),
    )


def is_meant(package: Package, wanted: str) -> bool:
    """A kernel is meant by its package's version, 6.1.176-1, or by its release, 6.1.0-50-cloud-amd64."""
    return is_version(package.version, wanted) or is_version(package.name.removeprefix("linux-image-"), wanted)
