"""Promote another, or start it again in place? Pure; whichever is expected to be shorter, and why, in words for the log.

Numbers from anchors.md and platform-notes.md, measured on 2 cores: pledge 0.03 s, promotion 0.10 s, start 0.1 s, a
premium restart waits for its standbys to reconnect (wal_retrieve_retry_interval, 0.1 s), redo about 50 MB/s.
"""

from __future__ import annotations

from dataclasses import dataclass

PLEDGE_S = 0.03
PROMOTE_S = 0.12
START_S = 0.30
RECONNECT_S = 0.15
REDO_BYTES_PER_S = 50 * 1024**2
REDO_GUESS_BYTES = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Choice:
    """playbook: 'failover' or 'restart'; why: both estimates, for the event log."""

    playbook: str
    why: str


def choose(
    *, sync: bool, standbys: int, server_up: bool, restart_failed: bool, failover_failed: bool = False,
    redo_bytes: int = REDO_GUESS_BYTES,
) -> Choice:  # fmt: skip
    """standbys: members that could lead. restart_failed, failover_failed: the last try of that did not help, so the other is
    tried: an election that is short of a pledge stays so until the primary is there again.
    """
    if not server_up:
        return Choice("failover", "its server is not known to run, so nothing can be started there")
    restart_s = START_S + redo_bytes / REDO_BYTES_PER_S / 4 + (RECONNECT_S if sync else 0.0)
    failover_s = PLEDGE_S + PROMOTE_S
    both = f"restart in place about {restart_s:.2f} s, failover about {failover_s:.2f} s"
    if standbys == 0:
        return Choice("restart", "no other member could lead now")
    if restart_failed:
        return Choice("failover", f"a restart in place did not help; {both}")
    if failover_failed:
        return Choice("restart", f"a failover did not succeed; {both}")
    if not sync:
        return Choice("restart", f"asynchronous: a restart in place loses nothing; {both}")
    return Choice("failover" if failover_s < restart_s else "restart", both)
