"""apt with directories of our own, one for each suite: what the suite holds, and downloads whose signatures apt has
checked.

The host's own sources, lists and packages stay as they are; of its configuration only what is said of acquiring
(proxies, certificates, how old a Release file may be) and its keyrings are taken over.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from emulators.host.answers import Answer, cached_answer, write
from emulators.host.errors import EmulatorError

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
HELPER = "/usr/lib/apt/apt-helper"
# The packages that anything here asks a suite for; the rest of its lists is not kept in mind.
OF_INTEREST = re.compile(r"Package: (linux-(image|binary|modules)-.*cloud-amd64|bochs)$", re.MULTILINE)
UNREACHABLE = re.compile(r"Could not connect|Could not resolve|Temporary failure|timed out|Unable to connect|too slow")
ANSWER_SECONDS = 15  # in which a mirror must answer
UPDATE_SECONDS = 300.0
DOWNLOAD_SECONDS = 1800.0
QUERY_SECONDS = 60.0
# What an answer about sources and lists rests on, by apt's names for it: a file (f) or a folder (d).
SETTINGS = ("Dir::Etc/d", "Dir::Etc::main/f", "Dir::Etc::parts/d", "Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d")
LISTS, STATUS = "Dir::State::lists/d", "Dir::State::status/f"


class SuiteMissing(EmulatorError):
    """The mirror answers, and does not have the suite."""


class MirrorUnreachable(EmulatorError):
    """The mirror does not answer at all."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A binary package that a suite holds."""

    name: str
    version: str
    suite: str
    depends: str = ""
    size: int = 0  # bytes to download


class _Index(msgspec.Struct):
    """index.json: what was found in lists of this state by this expression."""

    lists: str
    packages: list[Package]
    of_interest: str = ""


class AptSuite:
    """One suite of an archive in an apt directory of its own; without `uri` the host's own apt as it is configured."""

    def __init__(self, name: str, folder: Path, uri: str = "") -> None:
        self.name = name
        self._folder = folder
        self._uri = uri

    def age(self) -> float:
        """Seconds since the lists were fetched, or were found to be missing; infinite when never. 0 for the host's
        own.
        """
        if not self._uri:
            return 0.0
        times = [path.stat().st_mtime for path in (self._stamp, self._missing) if path.exists()]
        return time.time() - max(times) if times else float("inf")

    def update(self) -> None:
        """Fetch the lists. Raises SuiteMissing, or EmulatorError when the mirror does not answer; old lists stay
        then.
        """
        self._configure()
        try:
            self._apt(["apt-get", "-q", "--error-on=any", "update"], UPDATE_SECONDS)
        except EmulatorError as error:
            shutil.rmtree(self._folder / "state/lists/partial", ignore_errors=True)
            reason = f"{self._uri} {self.name}: {_first_reason(error.evidence)}"
            if UNREACHABLE.search(error.evidence):
                raise MirrorUnreachable(reason) from error
            if re.search(r"\b404\b|does not have a Release file", error.evidence):
                self._missing.touch()
                raise SuiteMissing(f"{self._uri} has no suite {self.name}") from error
            raise EmulatorError(reason) from error
        self._missing.unlink(missing_ok=True)
        self._stamp.touch()

    @property
    def known(self) -> bool:
        """Whether there are lists to look into."""
        return not self._uri or self._stamp.exists()

    @property
    def missing(self) -> bool:
        """Whether the mirror was found not to have the suite."""
        return bool(self._uri) and self._missing.exists()

    def packages(self) -> list[Package]:
        """What the lists hold of the packages that are of interest here. Raises EmulatorError."""
        if not self.known:
            return []
        listed = None if self._uri else self._lists()
        state = _state([self._stamp] if listed is None else listed)
        place = self._folder / "index.json"
        try:
            index = msgspec.json.decode(place.read_bytes(), type=_Index)
            if index.lists == state and index.of_interest == OF_INTEREST.pattern:
                return index.packages
        except (OSError, msgspec.DecodeError):
            pass
        files = self._lists() if listed is None else listed
        text = self._apt([HELPER, "cat-file", *map(str, files)], QUERY_SECONDS) if files else ""
        from debian.deb822 import Deb822  # slow to load, and only needed when the lists have changed

        stanzas = [Deb822(stanza) for stanza in text.split("\n\n") if OF_INTEREST.search(stanza)]
        packages = [
            Package(
                name=stanza["Package"],
                version=stanza["Version"],
                suite=self.name,
                depends=stanza.get("Depends", ""),
                size=int(stanza.get("Size", "0")),
            )
            for stanza in stanzas
        ]
        write(place, msgspec.json.encode(_Index(state, packages, OF_INTEREST.pattern)))
        return packages

    def download(self, wanted: Sequence[str], into: Path) -> list[Path]:
        """Download packages, each as NAME=VERSION, into a folder. Raises EmulatorError."""
        self._apt(["apt-get", "-q", "download", *wanted], DOWNLOAD_SECONDS, cwd=into)
        return sorted(into.glob("*.deb"))

    def download_with_all_they_need(self, wanted: Sequence[str], into: Path) -> list[Path]:
        """Download packages with everything that they depend on, libc included. Raises EmulatorError."""
        (into / "partial").mkdir()
        options = ["-o", f"Dir::Cache::archives={into}/", "--no-install-recommends", "--yes", "--download-only"]
        self._apt(["apt-get", "-q", *options, "install", *wanted], DOWNLOAD_SECONDS)
        return sorted(into.glob("*.deb"))

    def _lists(self) -> list[Path]:
        argv = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]
        said = self._apt(argv, QUERY_SECONDS) if self._uri else apt_of_host(argv, self._folder)
        return [path for line in said.splitlines() if (path := Path(line)).exists()]

    @property
    def _stamp(self) -> Path:
        return self._folder / "updated"

    @property
    def _missing(self) -> Path:
        return self._folder / "missing"

    def _configure(self) -> None:
        for name in ("none", "sources", "state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        keyring = next((path for path in KEYRINGS if path.exists()), None)
        source = (
            f"Types: deb\nURIs: {self._uri}\nSuites: {self.name}\nComponents: main\nArchitectures: amd64\n"
            f"Targets: Packages\n"
        )
        (self._folder / "sources/suite.sources").write_text(source + (f"Signed-By: {keyring}\n" if keyring else ""))
        acquire = apt(["apt-config", "dump", "Acquire"], QUERY_SECONDS)
        folder = self._folder
        ours = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": folder / "none",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": folder / "none",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",  # apt's own user cannot write below this user's cache
            "APT::Architecture": "amd64",
            "Acquire::GzipIndexes": "true",
            "Acquire::Retries": "0",
            "Acquire::http::Timeout": ANSWER_SECONDS,
            "Acquire::https::Timeout": ANSWER_SECONDS,
        }
        (folder / "apt.conf").write_text(acquire + "".join(f'{key} "{value}";\n' for key, value in ours.items()))

    def _apt(self, argv: Sequence[str], seconds: float, cwd: Path | None = None) -> str:
        return apt(argv, seconds, cwd=cwd, configuration=self._folder / "apt.conf" if self._uri else None)


def apt(argv: Sequence[str], seconds: float, *, cwd: Path | None = None, configuration: Path | None = None) -> str:
    """Run one of apt's programs; what it printed. Raises EmulatorError with its words when it fails or takes too
    long.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    if configuration is not None:
        environment["APT_CONFIG"] = str(configuration)
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False, timeout=seconds,
        )  # fmt: skip
    except OSError as error:
        raise EmulatorError(
            f"{argv[0]}: {error.strerror}", hint="packages are fetched through apt, on Debian"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EmulatorError(f"{argv[0]} took more than {seconds:.0f} s", evidence="the mirror is too slow") from error
    if done.returncode:
        raise EmulatorError(f"{Path(argv[0]).name} failed", evidence=(done.stdout + done.stderr)[-2000:])
    return done.stdout


def apt_of_host(argv: Sequence[str], cache: Path, configuration: Path | None = None) -> str:
    """What apt says of the host's sources and lists. It is asked again only when its configuration, its sources or its
    lists have changed; what it said is kept below `cache`. `configuration` is an apt.conf in place of the host's.
    Raises EmulatorError.
    """
    question = "\0".join([*argv, str(configuration or os.environ.get("APT_CONFIG", ""))])
    return cached_answer(
        cache, question, lambda: Answer(apt(argv, QUERY_SECONDS, configuration=configuration), _sources(configuration))
    )


def _sources(configuration: Path | None) -> list[Path]:
    """All files and folders that such an answer depends on."""
    words = [word for number, name in enumerate((*SETTINGS, LISTS, STATUS)) for word in (f"p{number}", name)]
    said = apt(["apt-config", "shell", *words], QUERY_SECONDS, configuration=configuration)
    paths = [Path(word.partition("=")[2]) for word in shlex.split(said)]
    own = configuration or os.environ.get("APT_CONFIG")
    program = shutil.which("apt-get")
    # dpkg keeps the architectures that apt has lists of beside the packages' state; that itself changes all the
    # time.
    return [*paths[:-1], paths[-1].with_name("arch"), *(Path(path) for path in (own, program) if path)]


def _state(files: Sequence[Path]) -> str:
    return " ".join(f"{path}:{path.stat().st_mtime_ns}" for path in files)


def _first_reason(words: str) -> str:
    """The one line of apt's words that says why: an error's, or else a warning's."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    for mark in ("E: ", "W: "):
        for line in lines:
            if line.startswith(mark) and "index files failed" not in line:
                return line.removeprefix(mark)
    return (lines or ["apt says nothing"])[-1]
