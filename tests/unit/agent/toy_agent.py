"""The agent's program with the toy engine, for tests with real processes: python toy_agent.py DIRECTORY."""

import asyncio
import logging
import sys
from pathlib import Path

from herder.agent.main import run
from tests.unit.agent.toy import ToyDriver

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    asyncio.run(run(Path(sys.argv[1]), lambda engine: ToyDriver()))
