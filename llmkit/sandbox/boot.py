"""Runs inside the sandbox before the untrusted code: sets limits, drops privileges, and executes that code.

Usage: ``boot.py LIMITS PROGRAM…``. LIMITS is JSON with bytes, seconds, processes and the user id to switch to. Only the
standard library is used.
"""

from __future__ import annotations

import json
import os
import resource
import sys


def main() -> None:
    """Set the limits, give up root, and replace this process by the program."""
    limits = json.loads(sys.argv[1])
    os.umask(0o077)
    for name, value in (
        ("RLIMIT_CPU", limits["cpu"]),
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_FSIZE", limits["file"]),
        ("RLIMIT_NPROC", limits["processes"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_MSGQUEUE", 0),
        ("RLIMIT_MEMLOCK", 0),
    ):
        resource.setrlimit(getattr(resource, name), (value, value))
    if limits["user"]:
        os.setgroups([])
        os.setresgid(limits["user"], limits["user"], limits["user"])
        os.setresuid(limits["user"], limits["user"], limits["user"])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
