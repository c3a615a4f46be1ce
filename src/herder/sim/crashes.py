"""Hears what herder's own loggers say while a seed or a drill runs: a handler that crashed is a finding, not a line that scrolls by."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from herder.model.errors import HerderError

ROOT = "herder"


class Crashes(logging.Handler):
    """While it is entered, `told` gathers errors that no one foresaw, and nothing else of herder's log is shown."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []
        self._before: tuple[list[logging.Handler], bool, int] = ([], True, 0)

    def emit(self, record: logging.LogRecord) -> None:
        """Operating errors are foreseen; a programmer's error is not."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, HerderError):
            self.told.append(f"{record.getMessage()}: {type(error).__name__}: {error}{_where(error)}")

    def __enter__(self) -> Self:
        log = logging.getLogger(ROOT)
        self._before = (log.handlers, log.propagate, log.level)
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.ERROR)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        log = logging.getLogger(ROOT)
        log.handlers, log.propagate, level = self._before
        log.setLevel(level)


def _where(error: BaseException) -> str:
    """The innermost line of herder's own."""
    at, found = error.__traceback__, ""
    while at is not None:
        found = f" ({at.tb_frame.f_code.co_filename.rpartition('/herder/')[2]}:{at.tb_lineno})"
        at = at.tb_next
    return found
