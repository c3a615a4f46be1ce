"""Which handler belongs to which effect, with the type of its outcomes: the one list that loading checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial

from herder.engine.effects import Outcome, Registered
from herder.engine.world import Machine
from herder.remedies import destroy, failover, provision, rebuild, restart, servers, strike, switchover, vantage
from herder.remedies.hands import Hands

Playbook = Callable[[Hands, Machine], Awaitable[Outcome]]

HANDLERS: tuple[tuple[str, type[StrEnum], Playbook], ...] = (
    ("launch_server", servers.Up, servers.launch_server),
    ("boot_server", servers.Up, servers.boot_server),
    ("watch_server", servers.Watched, servers.watch_server),
    ("destroy_server", servers.Destroyed, servers.destroy_server),
    ("ask_vantages", vantage.Seen, vantage.ask_vantages),
    ("fence_primary", failover.Fenced, failover.fence_primary),
    ("await_lease", failover.Leased, failover.await_lease),
    ("collect_pledges", failover.Pledged, failover.collect_pledges),
    ("promote_candidate", failover.Promoted, failover.promote_candidate),
    ("repoint_standbys", failover.Repointed, failover.repoint_standbys),
    ("prepare_switchover", switchover.Prepared, switchover.prepare_switchover),
    ("drain_primary", switchover.Drained, switchover.drain_primary),
    ("promote_drained", failover.Promoted, switchover.promote_drained),
    ("restart_primary", restart.Restarted, restart.restart_primary),
    ("place_member", rebuild.Placed, rebuild.place_member),
    ("rejoin_member", rebuild.Rejoined, rebuild.rejoin_member),
    ("await_catch_up", rebuild.CaughtUp, rebuild.await_catch_up),
    ("load_sync_set", rebuild.Enrolled, rebuild.load_sync_set),
    ("shrink_sync_set", strike.Shrunk, strike.shrink_sync_set),
    ("await_servers", provision.Hired, provision.await_servers),
    ("found_primary", provision.Founded, provision.found_primary),
    ("clone_standbys", provision.Cloned, provision.clone_standbys),
    ("load_first_sync_set", rebuild.Enrolled, provision.load_first_sync_set),
    ("stop_members", destroy.Stopped, destroy.stop_members),
    ("trash_members", destroy.Trashed, destroy.trash_members),
)


def bind(hands: Hands) -> list[Registered]:
    """The handlers with their hands."""
    return [Registered(effect, outcomes, partial(run, hands)) for effect, outcomes, run in HANDLERS]
