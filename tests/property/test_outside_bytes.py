"""Fuzz of every reader of bytes from outside: it takes them, or refuses them with its own error, within a bounded time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.effort import EFFORT
from tests.property.outside import READERS, Reader

EACH = pytest.mark.parametrize("reader", READERS, ids=str)

DEEP = 100_000
"""Levels: every recursive reader ends there, and must end with its own error."""

DIGITS = b"9" * 5_000
"""More than Python reads as a number (4,300), so that `int` raises a ValueError of its own."""

HOSTILE = {
    "nothing": b"",
    "zeroes": bytes(1000),
    "no UTF-8": b"\xff\xfe\xff",
    "half a surrogate": "\ud800".encode("utf-8", "surrogatepass"),
    "digits of other scripts": "٣:٣٣-٤:٤٤ ²".encode(),
    "nested JSON": b"[" * DEEP,
    "nested JSON in a key": b'{"x":' + b"[" * DEEP,
    "nested TOML": b"a = " + b"[" * DEEP,
    "nested TOML tables": b"a = " + b"{a=" * DEEP,
    "nested msgpack": b"\x01" + b"\x91" * DEEP,
    "msgpack of 4 billion": b"\x01\xdd\xff\xff\xff\xff",
    "text of 4 billion": b"\x97\x02\xdb\xff\xff\xff\xff",
    "a long number": b"lease_s = " + DIGITS,
    "a longer one, in hex": b"seed = 0x" + b"f" * 5_000,
    "a number past all floats": b"seed = " + b"9" * 400,
    "infinity": b"lease_s = inf\nseed = nan\n",
    "a long word": b"x" * 1_000_000,
    "many lines": b"x = 1\n" * 20_000,
}


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """A sample with a few things wrong: cut, bytes changed, pieces put in, doubled or swapped."""
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(whole) - 1, 0)))
        end = min(at + data.draw(st.integers(1, 12)), len(whole))
        piece = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"", whole[at:end] * 2, b"\0", b"-1", b"9" * 30, b"nan", b"inf", b'"', b"[[", b"\xc1"]
                ),
            )
        )
        whole = whole[:at] + piece + whole[data.draw(st.sampled_from([at, end, len(whole)])) :]
    return whole


OTHER_VALUES = [
    b"1",
    b"-1",
    b"nan",
    b"1e400",
    b"true",
    b'"x"',
    b'""',
    b"[]",
    b"[[]]",
    b"[1]",
    b"{}",
    b"1979-05-27",
    b"0xffff",
]
VALUE = re.compile(rb"(?<= = )[^\n]+")


def mistyped(data: st.DataObject, whole: bytes) -> bytes:
    """A sample of TOML in which some values are of another type; any other as it is."""
    for _ in range(data.draw(st.integers(1, 3))):
        if found := list(VALUE.finditer(whole)):
            begin, end = data.draw(st.sampled_from(found)).span()
            whole = whole[:begin] + data.draw(st.sampled_from(OTHER_VALUES)) + whole[end:]
    return whole


@EACH
def test_it_takes_its_samples(reader: Reader):
    """Or the tests below would try a reader that takes nothing."""
    assert [reader.tried(taken) for taken in reader.takes] == [None] * len(reader.takes)


@EACH
@EFFORT
@given(data=st.data())
def test_a_damaged_sample_is_taken_or_refused(reader: Reader, data: st.DataObject):
    sample = data.draw(st.sampled_from(reader.takes))
    reader.tried(damaged(data, sample))
    reader.tried(mistyped(data, sample))


@EACH
@EFFORT
@given(data=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(reader: Reader, data: bytes):
    reader.tried(data)
    reader.tried(reader.takes[0][: len(data) // 2] + data)


@EACH
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_meant_to_break_it_does_not_and_takes_no_time(reader: Reader, hostile: bytes):
    began = time.process_time()
    reader.tried(hostile)
    reader.tried(reader.takes[0] + hostile)
    assert time.process_time() - began < 2.0
