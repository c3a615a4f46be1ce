"""Promote another, or start it again in place? Whichever is expected to be shorter."""

from __future__ import annotations

from typing import Any

import pytest

from herder.remedies.estimate import REDO_BYTES_PER_S, choose

SYNC = {"sync": True, "standbys": 2, "server_up": True, "restart_failed": False}


@pytest.mark.parametrize(
    ("change", "playbook"),
    [
        ({}, "failover"),
        ({"redo_bytes": 0}, "failover"),
        ({"standbys": 0}, "restart"),
        ({"standbys": 0, "restart_failed": True}, "restart"),
        ({"standbys": 0, "server_up": False}, "failover"),
        ({"server_up": False}, "failover"),
        ({"restart_failed": True}, "failover"),
        ({"failover_failed": True}, "restart"),
        ({"failover_failed": True, "restart_failed": True}, "failover"),
        ({"failover_failed": True, "server_up": False}, "failover"),
        ({"sync": False}, "restart"),
        ({"sync": False, "restart_failed": True}, "failover"),
        ({"sync": False, "server_up": False}, "failover"),
    ],
)
def test_the_shorter_one_is_chosen(change: dict[str, Any], playbook: str):
    assert choose(**(SYNC | change)).playbook == playbook


def test_the_estimates_go_into_the_log():
    assert choose(**SYNC).why == "restart in place about 0.61 s, failover about 0.15 s"
    long = choose(**(SYNC | {"redo_bytes": 40 * REDO_BYTES_PER_S}))
    assert long.why.startswith("restart in place about 10.45 s")


def test_every_choice_says_why():
    assert (
        choose(**(SYNC | {"server_up": False})).why == "its server is not known to run, so nothing can be started there"
    )
    assert choose(**(SYNC | {"standbys": 0})).why == "no other member could lead now"
