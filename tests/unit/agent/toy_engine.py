"""A toy engine: a process with a backend that outlives it, as PostgreSQL's do. Run: python toy_engine.py PORT."""

import os
import signal
import socket
import sys
from pathlib import Path

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
backend = os.fork()
if backend == 0:
    listener.close()
    while True:
        signal.pause()
Path("first.pid").write_text(str(os.getpid()))


def end(*_):
    os.kill(backend, signal.SIGKILL)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
sys.stdout.write("toy engine ready\n")
sys.stdout.flush()
while True:
    peer, _ = listener.accept()
    peer.sendall(Path("role").read_bytes())
    peer.close()
