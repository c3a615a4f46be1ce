"""What this machine can do for servers: asked of the kernel by doing it, and kept so that addresses stay."""

from __future__ import annotations

import os
import shutil
from ipaddress import IPv4Network

from herder.model.errors import Environment, InvalidInput
from herder.ports.provider import Ground
from herder.providers import netns, subnets
from herder.providers.files import GroundFile, Shelf


def why_no_namespaces(tag: str) -> str:
    """Empty when namespaces work here: one is made and removed, as /proc/config and capabilities both lie in containers."""
    if os.geteuid() != 0:
        return "herder does not run as root"
    if shutil.which("ip") is None:
        return "there is no `ip` program (package iproute2)"
    trial = netns.namespace_name(tag, ".trial")  # no server can have that name
    bridge = netns.bridge_name(f"{tag}-try")
    try:
        netns.make_bridge(bridge)
        netns.make_namespace(trial, bridge, (), connect=True)
        netns.inside(trial, lambda: None)
    except (Environment, OSError) as error:
        return f"network namespaces do not work here: {error}"
    finally:
        netns.remove_namespace(trial)
        netns.remove_link(bridge)
    return ""


def survey(shelf: Shelf, tag: str, *, subnet: str, fencing: bool, namespaces: bool | None) -> Ground:
    """Decide namespaces and subnet, keep them, lay the bridge. Raises Environment, InvalidInput.

    While there are servers the earlier decision stands: their addresses are in clients' URLs.
    """
    shelf.prepare()
    with shelf.ground_lock():
        return _survey(shelf, tag, subnet, fencing=fencing, namespaces=namespaces)


def _survey(shelf: Shelf, tag: str, subnet: str, *, fencing: bool, namespaces: bool | None) -> Ground:
    kept, why_not = shelf.ground(), ""
    settled = kept is not None and bool(shelf.known())
    if settled and kept is not None and not kept.namespaces:
        why_not = "this directory's servers were made without"
    elif namespaces is False:
        why_not = "switched off"
    else:
        why_not = why_no_namespaces(tag)
    possible = not why_not
    if namespaces and not possible:
        raise Environment(f"namespaces are wanted but not to be had: {why_not}", "run as root with iproute2 installed")
    if settled and kept is not None and kept.namespaces and not possible:
        raise Environment(
            f"this directory's servers are network namespaces, which are not to be had now: {why_not}",
            "run herder as it was run before (as root)",
        )
    chosen = _choose(tag, subnet, kept, possible=possible, settled=settled)
    gateway = str(chosen.network_address + 1)
    if possible:
        netns.make_bridge(netns.bridge_name(tag), gateway)
    wanted = GroundFile(subnet=str(chosen), namespaces=possible)
    if wanted != kept:
        shelf.save_ground(wanted)
    return Ground(
        name="local",
        namespaces=possible,
        can_fence=fencing,
        subnet=str(chosen),
        controller_address=gateway,
        why_not=why_not,
    )


def _choose(tag: str, subnet: str, kept: GroundFile | None, *, possible: bool, settled: bool) -> IPv4Network:
    if kept is not None and kept.namespaces == possible and subnet in ("", kept.subnet):
        network = IPv4Network(kept.subnet)
        if not possible or netns.link_exists(netns.bridge_name(tag)):
            return network
        if settled or subnet:
            subnets.check_free(network)
            return network
    if settled and kept is not None:
        raise InvalidInput(f"servers live in {kept.subnet} already; it cannot become {subnet}", "unset `subnet`")
    if subnet:
        asked = subnets.parse(subnet, namespaces=possible)
        if possible:
            subnets.check_free(asked)
        return asked
    return subnets.free_private(tag) if possible else subnets.free_loopback(tag)
