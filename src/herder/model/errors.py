"""The one small tree of operating errors: each says what happened, what to do next, and how the CLI exits.

A programmer's error (a bug) is not in this tree: it is an ordinary exception and crashes.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class HerderError(Exception):
    """An operating error that a person reads.

    `message` says what is wrong, `hint` what to do next. `code` is a stable word for machines (JSON, HTTP),
    `exit_code` what the CLI ends with, `http_status` what the API answers with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidInput(HerderError):
    """A name, option, plan or file that cannot be what it should be."""

    code = "invalid_input"
    exit_code = 2
    http_status = 422


class NotFound(HerderError):
    """The thing named is not known."""

    code = "not_found"
    exit_code = 3
    http_status = 404


class Conflict(HerderError):
    """The name is taken, or the thing is busy with something that excludes the request."""

    code = "conflict"
    exit_code = 4
    http_status = 409


class Refused(HerderError):
    """A safety rule or an empty budget forbids it; doing it again changes nothing."""

    code = "refused"
    exit_code = 5
    http_status = 403


class Unreachable(HerderError):
    """The control plane, an agent or a server did not answer."""

    code = "unreachable"
    exit_code = 6
    http_status = 503


class TimedOut(HerderError):
    """It was waited for and has not happened yet; it may still happen."""

    code = "timed_out"
    exit_code = 7
    http_status = 504


class Environment(HerderError):
    """The machine lacks something: a binary, a permission, a port, disk space."""

    code = "environment"
    exit_code = 8
    http_status = 500


class NoData(Environment):
    """There is nothing to start on: no data directory, or none that an engine could read. Told by an agent; starting again
    changes nothing, so nobody tries.
    """

    code = "no_data"


class NewerData(HerderError):
    """The data directory was written by a newer herder."""

    code = "newer_data"
    exit_code = 9
    http_status = 500


ERRORS: tuple[type[HerderError], ...] = (
    InvalidInput, NotFound, Conflict, Refused, Unreachable, TimedOut, Environment, NewerData,
)  # fmt: skip
"""Every kind, for the table of exit codes in the docs."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: besides its own errors, texts that are not UTF-8 and
nesting that is too deep. Whoever decodes what came from a disk or a wire catches all three.
"""

BY_CODE: dict[str, type[HerderError]] = {error.code: error for error in ERRORS}
