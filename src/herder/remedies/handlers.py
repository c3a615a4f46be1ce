"""Which handler belongs to which effect, with the type of its outcomes: the one list that loading checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from herder.engine.effects import Many, Outcome, Registered, RegisteredMany
from herder.engine.registered import AnyRegistered
from herder.engine.world import Machine, World
from herder.remedies import (
    archive,
    dependency,
    destroy,
    failover,
    incident,
    provision,
    reboot,
    rebuild,
    restart,
    servers,
    strike,
    switchover,
    vantage,
)
from herder.remedies.hands import Hands

Playbook = Callable[[Hands, Machine], Awaitable[Outcome]]

HANDLERS: tuple[tuple[str, type[StrEnum], Playbook], ...] = (
    ("launch_server", servers.Up, servers.launch_server),
    ("boot_server", servers.Up, servers.boot_server),
    ("watch_server", servers.Watched, servers.watch_server),
    ("end_server", reboot.Ended, reboot.end_server),
    ("destroy_server", servers.Destroyed, servers.destroy_server),
    ("ask_vantages", vantage.Seen, vantage.ask_vantages),
    ("end_primary", failover.Stopped, failover.end_primary),
    ("fence_primary", failover.Fenced, failover.fence_primary),
    ("await_lease", failover.Leased, failover.await_lease),
    ("collect_pledges", failover.Pledged, failover.collect_pledges),
    ("promote_candidate", failover.Promoted, failover.promote_candidate),
    ("withdraw_promotion", failover.Withdrawn, failover.withdraw_promotion),
    ("repoint_standbys", failover.Repointed, failover.repoint_standbys),
    ("prepare_switchover", switchover.Prepared, switchover.prepare_switchover),
    ("drain_primary", switchover.Drained, switchover.drain_primary),
    ("look_who_leads", switchover.Looked, switchover.look_who_leads),
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
    ("check_canaries", incident.Checked, incident.check_canaries),
    ("watch_ourselves", incident.Heard, incident.watch_ourselves),
    ("probe_dependency", dependency.Asked, dependency.probe_dependency),
    ("watch_dependency", dependency.Answering, dependency.watch_dependency),
    ("drain_backlog", dependency.Drained, dependency.drain_backlog),
)

Batches = Callable[[Hands, World, NDArray[np.uint32]], Awaitable[Sequence[Many]]]

HANDLERS_OF_MANY: tuple[tuple[str, type[StrEnum], Batches, str, int], ...] = (
    ("drain_archive", archive.Drain, archive.drain_archive, archive.BUCKET, archive.BATCH),
)
"""Those that take many machines a call, with their bucket and the most a call."""


BUCKETS: dict[str, str] = {
    "launch_server": "provider:{provider} zone:{zone}",
    "boot_server": "provider:{provider} zone:{zone}",
    "destroy_server": "provider:{provider}",
    "rejoin_member": "kind:rebuild",
}
"""Effect -> the token buckets it draws from; one without a rate (`Parts.rates`) holds nobody back. A fence draws from none:
it must never wait behind launches.
"""


def bind(hands: Hands) -> list[AnyRegistered]:
    """The handlers with their hands."""
    return [
        *(
            Registered(effect, outcomes, partial(run, hands), BUCKETS.get(effect, ""))
            for effect, outcomes, run in HANDLERS
        ),
        *(
            RegisteredMany(effect, outcomes, partial(run, hands), bucket, batch)
            for effect, outcomes, run, bucket, batch in HANDLERS_OF_MANY
        ),
    ]
