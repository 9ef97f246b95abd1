"""A child process that does what it is asked: `Child("tests.support.apart_child", …)`."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from pipelines.apart import Parent
from pipelines.errors import CaseError, HubError


def main() -> None:
    print("printed before main began")
    print('"and looks like JSON"', flush=True)
    parent = Parent()
    while True:
        task: Any = parent.receive()
        if "echo" in task:
            print("a library prints", flush=True)
            parent.send(echo=task["echo"])
        elif "die" in task:
            os.kill(os.getpid(), task["die"])
        elif "leave" in task:
            sys.exit(task["leave"])
        elif "fail" in task:
            parent.fail(HubError("gated", "owner/name") if task["fail"] == "hub" else CaseError(task["fail"]))
        elif "hold" in task:
            parent.send(pid=os.getpid())
            ctypes.PyDLL(None).sleep(1000)  # never lets another thread of Python run


if __name__ == "__main__":
    main()
