"""The load on one service: the writer and its probers, and a bank besides; what they say while it goes on and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from herder.lab.bank import Total, Unread, journal, member_url, read_total
from herder.lab.ledger import Audit, Entry, Ledger, audit, overtaken

Facts = dict[str, Any]


def pace_s(services: int) -> float:
    """Seconds between writes of each client: what many services write together is kept to a share of two cores."""
    return min(max(0.01 * services, 0.02), 0.1)


class Load(Ledger):
    """A ledger with a bank. Its probers tell the tenure of each acknowledgement."""

    def __init__(self, service: Mapping[str, Any], socket: Path, directory: Path, every_s: float) -> None:
        probers = {"every_s": every_s, "standby_s": 2 * every_s, "tenures": True}
        super().__init__(service, socket, directory, every_s=every_s, probers=probers)
        self.begin_besides("bank", every_s=every_s)

    @property
    def transfers(self) -> list[Entry]:
        """The bank's entries so far."""
        return self.besides("bank")

    def total(self, member: Facts) -> Total | None:
        """What a member's bank holds now; None when it does not say."""
        try:
            return read_total(self.service["engine"], member_url(self.service, member))
        except Unread:
            return None

    def audit_all(self, url: str) -> tuple[Audit, Audit]:
        """Rows and transfers: what was acknowledged against what is there. url: of the present primary."""
        moved = [entry.id for entry in self.transfers if entry.ack]
        return self.audit(url), audit(moved, journal(self.service["engine"], url))

    def by_two(self) -> list[Entry]:
        """What an old primary acknowledged after its successor had begun to (S1)."""
        return overtaken(self.probed)
