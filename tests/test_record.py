from difftest.reading.record import parse

GOOD = b"""difftest 1 case=x
difftest 1 start a
difftest 1 check a FAIL reason="two words" cr0=0x31 must.cr0=0x80000031 free.tsc=0x1234
difftest 1 start b/long.name-1
difftest 1 check b/long.name-1 PASS
difftest 1 end checks=2
Halt: condition 'x' met, line 1, file x.c
"""


def test_fields_go_where_their_prefix_says() -> None:
    transcript = parse(GOOD)
    record = transcript.records["a"]
    assert (record.status, record.reason) == ("FAIL", "two words")
    assert record.fields == {"reason": "two words", "cr0": "0x31"}
    assert record.required == {"cr0": "0x80000031"}
    assert record.free == {"tsc": "0x1234"}
    assert record.broken() == ["cr0"]
    assert transcript.complete and not transcript.problems
    assert transcript.terminal_line == "Halt: condition 'x' met, line 1, file x.c"


def test_a_lost_record_is_not_complete() -> None:
    transcript = parse(GOOD.replace(b"difftest 1 check b/long.name-1 PASS\n", b""))
    assert not transcript.complete
    assert "says it reported 2 checks, 1 were read" in transcript.problems[0]
    assert transcript.died_in() == "b/long.name-1"


def test_what_does_not_parse_is_told() -> None:
    for line in (
        b"difftest 1 check a PASS cr0=0x1 junk",
        b"difftest 1 check a PASS cr0=0x1 cr0=0x2",
        b'difftest 1 check a PASS reason="\x1b[31m"',
        b"difftest 1 check a MAYBE",
        b"difftest 1 nonsense",
        b"difftest 1 check a PASS " + b"x" * 10000,
    ):
        transcript = parse(line + b"\n")
        assert not transcript.records, line
        assert len(transcript.problems) == 1, line
        assert "\x1b" not in transcript.problems[0]


def test_a_second_record_does_not_replace_the_first() -> None:
    transcript = parse(b"difftest 1 check a FAIL\ndifftest 1 check a PASS\n")
    assert transcript.records["a"].status == "FAIL"
    assert transcript.problems == ["second record of a"]


def test_free_text_has_a_terminal_line_and_no_records() -> None:
    transcript = parse(b"booting\r\nFatal: done\x00\r\n\r\n")
    assert transcript.terminal_line == "Fatal: done\\x00"
    assert not transcript.speaks
