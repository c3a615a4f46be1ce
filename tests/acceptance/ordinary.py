"""A herder of an ordinary user, as a process of its own: makes, breaks and heals, and prints what it saw as JSON.

test_ordinary_user.py runs it as somebody who is not root, with whichever interpreter that somebody may execute.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from herder.lab import faults
from herder.lab.rig import Rig
from tests.acceptance.stage import nothing_lost, pids, primary_of, until_well, writing


def healed(rig: Rig, name: str, ledgers: Path) -> dict[str, Any]:
    """Kill the primary's engine under a writer; what the account says, and who led before and after."""
    until_well(rig, name)
    old, _ = primary_of(rig, name)
    with writing(rig, name, ledgers) as account:
        began = faults.kill_engine(pids(rig, name)[old["id"]])
        account.ledger.await_write(began)
        until_well(rig, name)
    nothing_lost(account)
    return account.kept.facts() | {"led": old["id"], "leads": primary_of(rig, name)[0]["id"]}


def refusal(rig: Rig, name: str) -> list[str]:
    """What pulling a cable is answered with."""
    try:
        faults.silence(primary_of(rig, name)[1])
    except faults.NotPossible as error:
        return [error.message, error.hint]
    return []


def main() -> None:
    """The process. argv: where the ledgers go."""
    ledgers = Path(sys.argv[1])
    seen: dict[str, Any] = {"uid": os.geteuid()}
    with Rig({"failovers_per_hour": "100"}) as rig:
        for engine, name, plan in (("postgres", "notes", "dev"), ("postgres", "reports", "standard")):
            began = time.monotonic()
            made = rig.create(engine, name, plan)
            seen[name] = {"create_s": time.monotonic() - began, "url": made["url"], **healed(rig, name, ledgers)}
        seen["namespaces"] = rig.namespaces
        seen["addresses"] = [server["address"] for server in rig.servers()]
        seen["owners"] = sorted({os.stat(f"/proc/{pid}").st_uid for pid in pids(rig, "reports").values()})
        seen["cable"] = refusal(rig, "reports")
    seen["left"] = rig.path.exists()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
