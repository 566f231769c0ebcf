"""Reading words off a picture with tesseract, and remembering what it read in which picture.

A reading is a function of the picture's pixels and of the program: what is in the user's cache is taken only for
the same bytes, read in the same way by the same program, libraries and model, by their hashes. `OcrReading.cached`
says that it was.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import msgspec

from emulators.host.answers import Answer, cached_answer, write
from emulators.host.errors import EmulatorError
from emulators.host.files import cache_folder, sha256_cached
from emulators.host.libraries import LOADERS_CACHE, libraries_of

FOLDER = "readings"  # below the cache
LANGUAGE = "eng"
OCR_SECONDS = 30.0
LONGEST = 400  # characters of a reading; a row has 80
LARGEST_FILE = 4096
MOST_READINGS = 4096  # readings, of a block on the disk each; the oldest go first
READINGS_LEFT = MOST_READINGS * 3 // 4


class OcrError(Exception):
    """The picture could not be read at all."""


class GreyImage(NamedTuple):
    """Grey pixels, row by row, a byte each."""

    width: int
    height: int
    pixels: bytes

    def digest(self) -> str:
        """A hash of all that there is of it."""
        return hashlib.sha256(b"%d %d\n" % (self.width, self.height) + self.pixels).hexdigest()


class OcrReading(NamedTuple):
    """Words with single blanks between. `cached` is whether they were read at an earlier time, in a picture of the same
    bytes.
    """

    text: str
    cached: bool


class _StoredReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of a reading, named by its key. `check` shows a file that is not as it was written."""

    key: str
    text: str
    check: str


def read(picture: GreyImage, mode: str, *, afresh: bool = False) -> OcrReading:
    """What is written in a picture, in a page segmentation mode of tesseract's; with `afresh` tesseract itself is
    asked in any case.

    Blocks while tesseract works. Raises OcrError.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise OcrError("tesseract failed: it is not installed")
    by = _program(program)
    key = hashlib.sha256("\0".join([by, LANGUAGE, mode, picture.digest()]).encode()).hexdigest()
    path = cache_folder() / FOLDER / f"{key}.json"
    if by and not afresh and (text := _cached_text(path, key)) is not None:
        return OcrReading(text, True)
    text = _tesseract(picture, mode)
    if by and len(text) <= LONGEST:
        write(path, msgspec.json.encode(_StoredReading(key, text, _check(key, text))))
        _trim(path.parent)
    return OcrReading(text, False)


def _cached_text(path: Path, key: str) -> str | None:
    """What an earlier run has read. A file that is not what this module writes is removed."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(LARGEST_FILE) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        entry = msgspec.json.decode(data, type=_StoredReading)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        entry = None
    if (
        entry is None
        or (entry.key, entry.check) != (key, _check(key, entry.text))
        or entry.text != _words(entry.text)
        or len(entry.text) > LONGEST
    ):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return entry.text


def _check(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _trim(folder: Path) -> None:
    """Forget the oldest readings when there are too many."""
    with contextlib.suppress(OSError):
        paths = list(folder.iterdir())
        if len(paths) > MOST_READINGS:
            for path in sorted(paths, key=lambda path: path.stat().st_mtime)[: len(paths) - READINGS_LEFT]:
                path.unlink(missing_ok=True)


@functools.cache
def _program(program: str) -> str:
    """A hash of all files that a reading depends on: the program, its libraries, its model; "" when they are not
    known.
    """

    def ask() -> Answer:
        done = subprocess.run(
            [program, "--list-langs"], capture_output=True, text=True, timeout=OCR_SECONDS, check=False
        )
        said = done.stdout + done.stderr  # old versions say it on the one, new ones on the other
        found = re.search(r'"([^"\n]+)"', said)
        model = Path(found[1] if found else "") / f"{LANGUAGE}.traineddata"
        files = [Path(program), *libraries_of(Path(program)), model]
        digest = hashlib.sha256("".join(sha256_cached(file) for file in files).encode()).hexdigest()
        return Answer(digest, [*files, LOADERS_CACHE, model.parent])

    question = "\0".join(
        [program, "read by", *(os.environ.get(name, "") for name in ("TESSDATA_PREFIX", "LD_LIBRARY_PATH"))]
    )
    try:
        return cached_answer(cache_folder(), question, ask)
    except (EmulatorError, OSError, subprocess.SubprocessError):
        return ""


def _tesseract(picture: GreyImage, mode: str) -> str:
    # late: it loads pandas, and most runs find each strip of their screens among those that were read before
    import pytesseract
    from PIL import Image

    os.environ["OMP_THREAD_LIMIT"] = "1"  # its threads fight the emulators' for two cores
    image = Image.frombytes("L", (picture.width, picture.height), picture.pixels)
    try:
        said = pytesseract.image_to_string(image, lang=LANGUAGE, config=f"--psm {mode}", timeout=OCR_SECONDS)
    except (pytesseract.TesseractError, pytesseract.TesseractNotFoundError, RuntimeError, OSError) as error:
        raise OcrError(f"tesseract failed: {error}") from error
    return _words(str(said))


def _words(text: str) -> str:
    return " ".join(text.split())
