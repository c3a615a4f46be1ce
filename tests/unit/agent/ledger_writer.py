"""Writes promises of growing terms until it is killed; says each one that is kept: python ledger_writer.py PATH TERM."""

import asyncio
import sys
from pathlib import Path

from herder.agent.ledger import Ledger
from tests.unit.agent.toy import spec_of


async def write(path: Path, term: int) -> None:
    ledger = Ledger(path)
    while True:
        term += 1
        await ledger.admit("m1", term, 0, spec_of("m1", Path("/nowhere"), 1))
        sys.stdout.write(f"{term}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
