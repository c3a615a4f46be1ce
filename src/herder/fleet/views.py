"""What people see: plain dicts with stable fields, made from the committed world and the board. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from herder.engine.world import Machine, World
from herder.machines.service import is_without_data
from herder.model.lsn import format_lsn
from herder.model.plans import Engine
from herder.pulse.board import Board

GONE = ("retired", "archived", "terminated")


def url_of(world: World, service: Machine, *, read: bool = False) -> str:
    """One URL for life. PostgreSQL: every slot's address, the client finds the primary. Valkey: the present primary."""
    data = service.data
    members = [world.get(ident) for ident in data["members"]]
    user, password = quote(data["user"]), quote(data["password"])
    if data["engine"] == Engine.VALKEY:
        primary = world.get(data["primary"])
        readers = [m for m in members if m.id != primary.id and m.state == "available"]
        chosen = readers[0] if read and readers else primary
        return f"valkey://{user}:{password}@{chosen.data['address']}:{chosen.data['port']}/0"
    hosts = ",".join(f"{member.data['address']}:{member.data['port']}" for member in members)
    attributes = "prefer-standby" if read else "read-write"
    return f"postgresql://{user}:{password}@{hosts}/{data['database']}?target_session_attrs={attributes}"


def service_view(world: World, board: Board, service: Machine) -> dict[str, Any]:
    """`herder show --json`."""
    data = service.data
    members = [world.get(ident) for ident in data["members"]]
    return {
        "name": service.name, "kind": "service", "engine": data["engine"], "plan": data["plan"], "state": service.state,
        "since_ms": service.since_ms, "url": url_of(world, service), "read_url": url_of(world, service, read=True),
        "term": data["term"], "voters": [world.get(ident).name for ident in data["voters"]],
        "on_isolation": on_isolation(service), "doing": doing(world, service),
        "members": [member_view(world, board, service, member) for member in members],
    }  # fmt: skip


def on_isolation(service: Machine) -> str:
    """What its primary does when it is cut off: 'stop' where a lease binds it; one that waits for voters needs none."""
    alone = service.data["sync"] or len(service.data["members"]) < 2
    return "serve" if alone else str(service.data.get("on_isolation", "serve"))


def member_view(world: World, board: Board, service: Machine, member: Machine) -> dict[str, Any]:
    """One member of `herder show --json`. lsn as the engine writes it; lag_bytes behind the primary's last reading."""
    server = world.get(member.data["server"])
    reading = board.reading(server.name, member.name, member.id)
    primary = world.get(service.data["primary"])
    leads = board.reading(world.get(primary.data["server"]).name, primary.name, primary.id)
    position = reading.position if reading is not None else None
    lag = None
    if position is not None and leads is not None and leads.position is not None and member.id != primary.id:
        lag = max(leads.position.lsn - max(position.lsn, (reading.received or 0) if reading else 0), 0)
    postgres = service.data["engine"] == Engine.POSTGRES
    return {
        "id": member.name, "role": member.data["role"], "state": member.state, "server": server.name,
        "address": member.data["address"], "port": member.data["port"], "pid": reading.pid if reading else 0,
        "data_dir": f"{server.data.get('directory', '')}/data/{member.name}",
        "timeline": position.timeline if position else None,
        "lsn": (format_lsn(position.lsn) if postgres else str(position.lsn)) if position else None,
        "lag_bytes": lag, "voter": member.id in service.data["voters"], "leased": bool(member.data.get("leased")), "doing": doing(world, member),
    }  # fmt: skip


def doing(world: World, machine: Machine) -> str:
    """The playbook that holds it and its step, '' for none."""
    playbook = world.find(machine.data.get("playbook", 0))
    return f"{playbook.kind}: {playbook.state}" if playbook is not None and playbook.live else ""


def server_view(board: Board, server: Machine) -> dict[str, Any]:
    """`herder servers --json`."""
    track = board.servers.get(server.name)
    return {
        "id": server.name, "incarnation": server.data["incarnation"], "address": server.data["address"],
        "namespace": server.data.get("namespace", ""), "agent_pid": track.agent_pid if track else 0,
        "state": server.state, "directory": server.data.get("directory", ""),
    }  # fmt: skip


def agent_view(board: Board, server: Machine, now: float) -> dict[str, Any]:
    """`herder agents --json`."""
    track = board.servers.get(server.name)
    return {
        "server": server.name, "state": server.state, "pid": track.agent_pid if track else 0,
        "rss_kb": track.rss_kb if track else 0, "disk_free": track.disk_free if track else 0,
        "silent_s": round(board.silent_for(server.name, now), 3), "patience_s": round(board.patience(server.name), 3),
        "frames": track.frames if track else 0,
    }  # fmt: skip


def page_view(world: World, page: Machine) -> dict[str, Any]:
    """One page."""
    subject = world.find(page.data["subject"])
    return {
        "id": page.name, "state": page.state, "subject": subject.name if subject else "", "reason": page.data["reason"],
        "text": page.data["text"], "times": page.data["times"], "since_ms": page.since_ms,
    }  # fmt: skip


def not_well(world: World) -> list[dict[str, Any]]:
    """Every unit that is not available: since when, what is done about it, what that waits for."""
    found: list[dict[str, Any]] = []
    for kind in ("service", "member", "server"):
        for machine in world.of_kind(kind):
            if machine.state == "available" or machine.state in GONE:
                continue
            busy = doing(world, machine) or _server_work(machine)
            found.append(
                {
                    "name": machine.name,
                    "kind": kind,
                    "state": machine.state,
                    "since_ms": machine.since_ms,
                    "doing": busy,
                    "waits_for": waits_for(world, machine),
                    "why": _why(machine),
                }
            )
    return found


def _server_work(machine: Machine) -> str:
    effect = machine.at.effect
    return effect.name.replace("_", " ") if effect is not None else ""


def _why(machine: Machine) -> str:
    evidence = machine.data.get("evidence", {})
    return str(evidence.get("exit_line") or evidence.get("verdict") or evidence.get("why") or "")


def waits_for(world: World, machine: Machine) -> str:
    """In words."""
    playbook = world.find(machine.data.get("playbook", 0))
    if playbook is not None and playbook.live:
        return playbook.at.doc
    if machine.kind == "service" and is_without_data(machine.data, {}):
        return f"a person: its data is gone (herder explain {machine.name})"
    if machine.kind == "member":
        server = world.get(machine.data["server"])
        if server.state != "available":
            return f"{server.name}, which is {server.state}"
    return machine.at.doc


def status_view(world: World, board: Board, engine: dict[str, Any], us: str) -> dict[str, Any]:
    """`herder status --json`."""
    counts: dict[str, dict[str, int]] = {}
    for kind in ("service", "member", "server"):
        for machine in world.of_kind(kind):
            states = counts.setdefault(kind, {})
            states[machine.state] = states.get(machine.state, 0) + 1
    pages = [page_view(world, page) for page in world.of_kind("page") if page.state == "open"]
    return {"state_counts": counts, "not_well": not_well(world), "pages": pages, "controller": engine, "us": us,
            "refused_frames": dict(board.refused)}  # fmt: skip
