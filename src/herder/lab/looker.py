"""Who looks on while the demo runs: what the API and the ledgers say, a few times a second, drawn on the screen."""

from __future__ import annotations

import copy
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from herder.directory import socket_address
from herder.lab.ledger import Entry, Ledger
from herder.lab.screen import HEALED, Facts, Frame, Result, Screen, Writes

LOOK_S = 0.25
"""Seconds between looks: each costs the control plane three small answers."""

SLICE_S = 0.5
SLICES = 40
"""Of the writers' rates: 20 s, more than the widest picture shows."""


class Writer:
    """A ledger, and what of it is shown while it grows. One lock: the looker reads it besides the one who breaks things."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.lock = threading.Lock()
        self._seen = 0
        self._last: float | None = None
        self._slices: Counter[int] = Counter()

    def now(self) -> Writes:
        """Its rates and its last acknowledgement."""
        with self.lock:
            written = self.ledger.written
            for entry in written[self._seen :]:
                if entry.ack:
                    self._slices[int(entry.at / SLICE_S)] += 1
                    self._last = entry.at
            self._seen = len(written)
        now = time.monotonic()
        current = int(now / SLICE_S)
        rates = tuple(self._slices[number] / SLICE_S for number in range(current - SLICES, current))
        return Writes(rates, None if self._last is None else max(now - self._last, 0.0), self._seen)

    def entries(self) -> list[Entry]:
        """All acknowledged and unknown writes, the probers' besides, by time."""
        with self.lock:
            return sorted([*self.ledger.written, *self.ledger.probed], key=lambda entry: entry.at)


class Looker(threading.Thread):
    """Asks the API a few times a second, over one connection, and draws what it says."""

    def __init__(self, socket_path: Path, shown: Screen, results: Sequence[Result], began: float) -> None:
        super().__init__(daemon=True, name="looker")
        self.writers: dict[str, Writer] = {}
        self.sentence = ""
        self.frame = Frame()
        self.servers: dict[str, Facts] = {}
        self.namespaces: set[str] = set()
        self.looked_at = 0.0
        self.richest = (0, Frame())
        self._path, self._screen, self._results, self._began = socket_path, shown, results, began
        self._over = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Until `stop`."""
        while not self._over.wait(LOOK_S):
            self.look()

    def stop(self) -> None:
        """No more looks."""
        self._over.set()
        self.join()

    def look(self) -> None:
        """One look. While nobody answers the last facts stay, and the writers are counted on."""
        at = time.monotonic()
        try:
            # Events first: states are then never older than the moves that are seen.
            events = self._get("/v1/events?limit=120")
            services, servers = self._get("/v1/services"), self._get("/v1/servers")
        except (OSError, http.client.HTTPException, ValueError):
            self._connection = None
            frame = replace(self.frame, control_plane=False)
        else:
            frame = replace(self.frame, services=services, events=events, control_plane=True)
            self.servers = {server["id"]: server for server in servers}
            self.namespaces |= {server["namespace"] for server in servers if server["namespace"]}
            self.looked_at = at
        writes = {name: writer.now() for name, writer in list(self.writers.items())}
        self.frame = replace(
            frame,
            elapsed_s=time.monotonic() - self._began,
            sentence=self.sentence,
            writes=writes,
            results=self._results,
        )
        self._keep_richest()
        self._screen.show(self.frame)

    def _keep_richest(self) -> None:
        """The frame with the most going on, once some faults are healed: for the README."""
        ill = sum(unit["state"] != "available" for s in self.frame.services for unit in (s, *s["members"]))
        without = sum(rate == 0 for writes in self.frame.writes.values() for rate in writes.rates[-20:])
        done = sum(result.state == HEALED for result in self._results)
        if done >= 2 and ill and ill + without >= self.richest[0] and self.frame.control_plane:
            self.richest = (ill + without, replace(self.frame, results=copy.deepcopy(list(self._results))))

    def _get(self, route: str) -> Any:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("herder")
            self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._connection.sock.settimeout(5.0)
            with socket_address(self._path) as address:
                self._connection.sock.connect(address)
        self._connection.request("GET", route)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"{route}: {answer.status}")
        return json.loads(content)
