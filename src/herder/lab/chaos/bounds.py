"""What chaos may touch: what its own throw-away herder made, and nothing else, however wrong an answer of the API is.

A process is held by a descriptor before it is looked at, so that its number cannot be given to another in between.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from herder.lab.faults import NotPossible
from herder.model.errors import Refused
from herder.providers import netns, procs


class Bounds:
    """The edge of one rig. directory: where it lives; everything of it stands there or carries its tag."""

    def __init__(self, directory: Path) -> None:
        self._top = os.path.realpath(directory)
        self._tag = netns.tag_of(directory)

    def kill(self, pid: int) -> None:
        """SIGKILL a process of the rig. Raises Refused for any other, NotPossible when there is none."""
        self._held(pid, lambda handle: signal.pidfd_send_signal(handle, signal.SIGKILL))

    def check_process(self, pid: int) -> None:
        """As `kill`, without the signal."""
        self._held(pid, lambda handle: None)

    def _held(self, pid: int, act: Callable[[int], None]) -> None:
        if pid <= 1:
            raise NotPossible(f"{pid} is no process", "it ended, or is not known just now")
        try:
            handle = os.pidfd_open(pid)
        except OSError as error:
            raise NotPossible(f"process {pid} does not run") from error
        try:
            began = procs.start_ticks(pid)
            if began is None:
                raise NotPossible(f"process {pid} does not run")
            if not self._is_ours(pid) or procs.start_ticks(pid) != began:
                raise Refused(
                    f"process {pid} ({procs.describe(pid)}) is not of {self._top}", "chaos touches only what it made"
                )
            act(handle)
        finally:
            os.close(handle)

    def _is_ours(self, pid: int) -> bool:
        inodes = {inode for name in netns.names_of(self._tag) if (inode := netns.inode_of(name)) is not None}
        if procs.in_namespaces(frozenset(inodes), [pid]) or procs.working_under(Path(self._top), [pid]):
            return True
        words = procs.command_line(pid)  # herder and its nats-server stand elsewhere, and name the directory
        return any(word in (f"--dir={self._top}", f"{self._top}/nats/nats.conf") for word in words)

    def check_server(self, server: dict[str, Any]) -> None:
        """Raises Refused for a server whose namespace or directory is not the rig's."""
        namespace, home = str(server.get("namespace") or ""), str(server.get("directory") or "")
        named = not namespace or namespace == netns.namespace_name(self._tag, str(server["id"]))
        if not named or os.path.realpath(home) != f"{self._top}/servers/{server['id']}":
            raise Refused(f"server {server.get('id')} is not of {self._top}", "chaos touches only what it made")
