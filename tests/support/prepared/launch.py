"""The small process: `python -I -S launch.py SOCKET -m MODULE …`. Imports little, since it is started often."""

import json
import os
import signal
import socket
import sys

address, *arguments = sys.argv[1:]
connection = socket.socket(socket.AF_UNIX)
connection.connect(address)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, _: connection.send(bytes([number])))
asked = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()  # noqa: PTH109
socket.send_fds(connection, [len(asked).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(asked)
for stream in (0, 1, 2):
    os.close(stream)  # so that a pipe ends with the fork
answer = connection.recv(8)
code = int.from_bytes(answer, "big", signed=True) if answer else 1
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
