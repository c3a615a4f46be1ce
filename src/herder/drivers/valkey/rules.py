"""Who may lead and what a position is: pure functions of the marker and one look."""

from __future__ import annotations

import msgspec

from herder.drivers.valkey.client import Look
from herder.drivers.valkey.marker import Intent, Marker, Reach
from herder.ports.driver import Position, Role


def came_back_empty(marker: Marker, look: Look, reach: Reach) -> str:
    """Why a member that was just started must not lead, '' when it may. An empty node never leads (failure 8).

    Empty is not enough: keys expire and owners flush. But an engine that was emptied by commands has them in its log,
    which then reaches at least as far as the one noted; a lost or shortened log does not.
    """
    if look.keys or not marker.keys or reach >= marker.reach:
        return ""
    return (
        f"it came back empty: {marker.keys} keys were noted and its log reached {marker.reach.piece}:{marker.reach.size}, "
        f"now there are none and it reaches {reach.piece}:{reach.size}"
    )


def may_not_lead(marker: Marker, look: Look) -> str:
    """Why a running standby must not be promoted, '' when it may."""
    if marker.refused:
        return marker.refused
    if not marker.synced:
        return "it never received a whole copy"
    if look.syncing:
        return "it is in the middle of receiving a copy"
    if not look.keys and marker.keys and marker.history not in {look.replid, look.replid2}:
        # Emptied by the stream it followed: fine, that is the owner's doing. Emptied by another history: a wiped primary.
        return f"it is empty, and {marker.keys} keys were noted in another history ({marker.history[:8]})"
    return ""


def position_of(marker: Marker | None, look: Look) -> Position:
    """How far the data reaches.

    A standby that was restarted and has met no primary since knows neither id nor offset: then the marker's, which is
    exact after a pledge or a clean stop, and else some seconds old.
    """
    if marker is None or marker.run_id == look.run_id:
        return look.position
    met_a_primary = look.role is Role.PRIMARY or look.link_up or look.offset > 1  # 0 or 1 is what a start begins with
    return look.position if met_a_primary else Position(0, marker.offset, marker.history)


def worth_noting(marker: Marker, look: Look) -> bool:
    """May this look replace what the marker holds?

    Not while memory holds what the log does not, not a restarted standby that knows nothing yet, and not an unexplained
    emptiness: the keys noted are the evidence against it.
    """
    if look.loading or look.syncing or not look.settled or marker.refused or not marker.synced:
        return False
    if look.role is Role.PRIMARY:
        return marker.intent is Intent.PRIMARY
    if marker.intent is Intent.PRIMARY or position_of(marker, look) != look.position:
        return False
    return bool(look.keys) or not marker.keys or marker.history in {look.replid, look.replid2}


def noted(marker: Marker, look: Look, reach: Reach) -> Marker:
    """The marker with what the look showed."""
    return msgspec.structs.replace(
        marker, keys=look.keys, history=look.replid, offset=look.offset, run_id=look.run_id, reach=reach
    )


def told_apart(marker: Marker, look: Look) -> bool:
    """Does the look differ in something that must be noted at once, and not at the next leisurely note?"""
    return (marker.history, marker.run_id, bool(marker.keys)) != (look.replid, look.run_id, bool(look.keys))
