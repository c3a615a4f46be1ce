"""The one codec of the wire: a version byte, then msgpack. Whatever arrives, decoding gives a frame or one FrameError."""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TypeVar

import msgspec

from herder.ports.wire import FRAME_VERSION, Job, JobReply, Pulse

FRAME_MAX = 1024 * 1024
"""Bytes. NATS' own default for max_payload; a pulse of 50 members is about 15 KB."""

_Frame = TypeVar("_Frame", Pulse, Job, JobReply)


_RELAY = struct.Struct("<4xI")
"""Where a fleet frame names its relay (the layout is pulse.fleet_frame's; this side reads nothing else of it)."""


class FrameFault(StrEnum):
    """Why a frame was not taken."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NEWER = "newer"  # the sender is a newer herder: upgrade this side
    GARBAGE = "garbage"


class FrameError(Exception):
    """A frame that cannot be taken; `fault` for counters, the message for people."""

    def __init__(self, fault: FrameFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


_encoder = msgspec.msgpack.Encoder()
_pulses = msgspec.msgpack.Decoder(Pulse)
_jobs = msgspec.msgpack.Decoder(Job)
_replies = msgspec.msgpack.Decoder(JobReply)


def encode(frame: Pulse | Job | JobReply) -> bytes:
    """A frame as bytes. Raises FrameError when it is larger than the wire carries."""
    data = bytes((FRAME_VERSION,)) + _encoder.encode(frame)
    if len(data) > FRAME_MAX:
        raise FrameError(FrameFault.TOO_LARGE, f"a frame of {len(data)} bytes; the wire carries {FRAME_MAX}")
    return data


def decode_pulse(data: bytes) -> Pulse:
    """Bytes of an agent's pulse. Raises FrameError only."""
    return _decode(_pulses, data)


def decode_job(data: bytes) -> Job:
    """Bytes of a controller's job. Raises FrameError only."""
    return _decode(_jobs, data)


def decode_reply(data: bytes) -> JobReply:
    """Bytes of an agent's answer. Raises FrameError only."""
    return _decode(_replies, data)


def relay_of(data: bytes) -> int:
    """The relay that a fleet frame names, 0 when it is too short to name one."""
    return int(_RELAY.unpack_from(data)[0]) if len(data) >= _RELAY.size else 0


def _decode(decoder: msgspec.msgpack.Decoder[_Frame], data: bytes) -> _Frame:
    if not data:
        raise FrameError(FrameFault.EMPTY, "an empty frame")
    if len(data) > FRAME_MAX:
        raise FrameError(FrameFault.TOO_LARGE, f"a frame of {len(data)} bytes; the wire carries {FRAME_MAX}")
    if data[0] > FRAME_VERSION:
        # Told apart from garbage because the remedy differs: this side is older and must be upgraded.
        raise FrameError(FrameFault.NEWER, f"frame version {data[0]} is newer than {FRAME_VERSION}: upgrade this side")
    if data[0] == 0:
        raise FrameError(FrameFault.GARBAGE, "frame version 0 never was")
    try:
        return decoder.decode(memoryview(data)[1:])
    except Exception as error:  # noqa: BLE001  see below
        # Everything, on purpose: besides msgspec's own errors hostile bytes reach RecursionError and UnicodeError,
        # and a decoder that crashes the subscription would silence a whole fleet.
        raise FrameError(FrameFault.GARBAGE, f"not a frame: {type(error).__name__}: {error}") from None
