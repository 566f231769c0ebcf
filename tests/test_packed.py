"""Files on their way out of the appliance: the program in there, run here, and its near end."""

from __future__ import annotations

import base64
import functools
import io
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from emulators.host.errors import EmulatorError
from emulators.hosted.appliance.assembler import PACK_SOURCE, TAKE_SOURCE, compiled
from emulators.hosted.appliance.packed import MOST_BYTES, unpacked

needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")


@functools.cache
def program() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="difftest-test-pack-"))
    path = folder / "pack-under-test"
    path.write_bytes(compiled(PACK_SOURCE, folder))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module", autouse=True)
def no_program_left() -> object:
    yield
    if program.cache_info().currsize:
        shutil.rmtree(program().parent)


def run(*words: object) -> bytes:
    return subprocess.run([str(program()), *map(str, words)], capture_output=True, check=True).stdout


def through(files: dict[str, bytes]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return unpacked(run(*(f"{folder}/{name}" for name in files)))


def text_screen() -> bytes:
    picture = Image.new("RGB", (720, 400))
    for row in range(25):
        ImageDraw.Draw(picture).text(
            (0, 16 * row), f"row {row}: Fatal: Halting! Condition failed" if row % 3 else "", (168,) * 3
        )
    ppm = io.BytesIO()
    picture.save(ppm, "PPM")
    return ppm.getvalue()


pieces = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 900)).map(lambda run: run[0] * run[1]),
        st.integers(0, 70_000).map(lambda size: bytes(index * index >> 3 & 0xFF for index in range(size))),
    ),
    max_size=6,
).map(b"".join)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Like QEMU's, of a few rows in any order; now and then with a byte too much, or one missing."""
    width = draw(st.integers(1, 300))
    colours = draw(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=3))
    kinds = [b"".join(draw(st.permutations([*colours] * (width // len(colours) + 1)))[:width]) for _ in range(3)]
    rows = draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(1, 400)), max_size=6))
    pixels = b"".join(row * times for row, times in rows)
    whole = b"P6\n%d %d\n255\n" % (width, len(pixels) // (3 * width)) + pixels
    return draw(st.sampled_from([whole, whole, whole, whole + b"x", whole[:-1]]))


@needs_compiler
@settings(deadline=None)  # processes are started, and the machine may be busy
@given(files=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True), st.one_of(pieces, pictures())))
def test_what_goes_in_comes_out(files: dict[str, bytes]) -> None:
    if files:
        assert through(files) == files


@needs_compiler
def test_the_picture_of_a_text_screen_gets_small() -> None:
    screen = text_screen()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "screen.ppm").write_bytes(screen)
        packed = run(f"{folder}/screen.ppm")
    assert len(screen) > 50 * len(packed)
    assert unpacked(packed) == {"screen.ppm": screen}


@needs_compiler
@pytest.mark.parametrize(
    "header",
    [
        b"P6\n720 400\n65535\n",
        b"P6\n99999999999999999999 3\n255\n",
        b"P6\n0 0\n255\n",
        b"P6\n4294967296 4294967296\n255\n",
        b"P6\n720 400",
        b"P6\n # # # # # # ",
    ],
)
def test_a_picture_that_is_none_is_a_file_like_any_other(header: bytes) -> None:
    files = {"screen.ppm": header + bytes(5000), "short.ppm": header}
    assert through(files) == files


@needs_compiler
def test_a_picture_of_more_rows_than_can_be_counted_comes_out() -> None:
    screen = b"P6\n22 70000\n255\n" + b"abc" * 22 * 70000
    assert through({"screen.ppm": screen}) == {"screen.ppm": screen}


@needs_compiler
def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = subprocess.run([program(), tmp_path / "nothing"], capture_output=True, check=False)
    assert done.returncode == 1 and done.stdout == b"" and done.stderr == f"failed: {tmp_path}/nothing".encode()


@needs_compiler
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 256, 100_000])
def test_an_answer_of_the_agent(tmp_path: Path, size: int) -> None:
    said = bytes(index * 7 & 0xFF for index in range(size))
    (tmp_path / "answer").write_bytes(said)
    assert run("-r", 17, 255, tmp_path / "answer") == b"17 255 " + base64.b64encode(said) + b"\n"


def stream(content: bytes, after: bytes = b"") -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflate.compress(content) + deflate.flush() + after
    return body + zlib.crc32(body).to_bytes(4, "little")


ROWS = b"screen 8 2 3\n.." + b"\x02\x00abc"


def test_streams_are_what_the_test_takes_them_for() -> None:
    assert unpacked(stream(ROWS)) == {"screen": b"..abcabc"}
    assert unpacked(stream(b"")) == {}


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\0\0\0",
        stream(ROWS)[:-1],
        stream(ROWS)[1:],
        stream(ROWS, after=b"x"),
        bytes([stream(ROWS)[0] ^ 1]) + stream(ROWS)[1:],
        b"\xff" + zlib.crc32(b"\xff").to_bytes(4, "little"),
        stream(b"screen 8 2 3\n"),
        stream(ROWS[:-1]),
        stream(ROWS[:-5]),
        stream(b"screen 8 2 3\n..\x00\x00abc"),
        stream(b"screen 8 2 3\n..\x03\x00abc"),
        stream(b"screen 8 2 0\n..\x01\x00"),
        stream(b"screen 8 9 0\n" + bytes(9)),
        stream(b"screen 999999999 0 3\n\x01\x00abc"),
        stream(b"screen 60000000 0 1\n\xff\xffa"),
        stream(b"../screen 1 1 0\nx"),
        stream(b"screen 1 1 0\nxscreen 1 1 0"),
        stream(b"screen 1 1 0"),
        stream(b"screen -1 1 0\nx"),
        stream(b"\n"),
    ],
)
def test_broken_streams_are_told(packed: bytes) -> None:
    with pytest.raises(EmulatorError, match="did not come whole"):
        unpacked(packed)


def test_a_stream_that_would_fill_the_memory_is_refused() -> None:
    rows = b"\xff\xff" + b"r" * 60_000
    bombs = (
        stream(b"zeros %d %d 0\n" % (MOST_BYTES + 1, MOST_BYTES + 1) + bytes(MOST_BYTES + 1)),
        stream(b"picture %d 0 60000\n" % (60_000 * 65_535) + rows),
        stream((b"picture %d 0 60000\n" % 60_000_000 + b"\xe8\x03" + rows[2:]) * 2),
    )
    for bomb in bombs:
        assert len(bomb) < MOST_BYTES // 900
        with pytest.raises(EmulatorError):
            unpacked(bomb)
    assert sum(map(len, unpacked(stream(b"picture 60000000 0 60000\n\xe8\x03" + rows[2:])).values())) == 60_000_000


@given(packed=st.binary(max_size=200), content=st.binary(max_size=200))
def test_nonsense_raises_nothing_else(packed: bytes, content: bytes) -> None:
    for data in (packed, stream(content), stream(b"screen 100 2 3\n" + content)):
        try:
            unpacked(data)
        except EmulatorError:
            pass


@pytest.mark.parametrize("words", [[], ["5"], ["no", "file"], ["0", "file"], ["5", "nothing"], ["5", "file", "more"]])
def test_what_takes_an_image_in_touches_no_port_before_it_knows_what_to_do(tmp_path: Path, words: list[str]) -> None:
    take = tmp_path / "take"
    take.write_bytes(compiled(TAKE_SOURCE, tmp_path))
    take.chmod(0o755)
    (tmp_path / "file").write_bytes(b"as it was")
    done = subprocess.run([take, *words], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"failed: no such file, or no number of sectors")
    assert (tmp_path / "file").read_bytes() == b"as it was"
