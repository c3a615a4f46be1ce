"""Told by the kernel when a process ends, whoever its parent is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class Ended:
    """Calls back once when a process has ended. It need not be our child. Raises ProcessLookupError when it is gone."""

    def __init__(self, pid: int, tell: Callable[[], None]) -> None:
        self.pid = pid
        self._tell = tell
        self._handle = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._handle, self._fire)

    def close(self) -> None:
        """Stop watching."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _fire(self) -> None:
        self.close()
        self._tell()
