"""Isolation of untrusted code by bubblewrap, which is probed before it is used.

Inside the sandbox there are the Python of this process with its standard library and a small empty folder. There are no
files of the machine, no network, no other processes and no environment. If this process is root, the code runs under
an otherwise unused user id; if not, it runs in a user namespace.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from llmkit.errors import SandboxError
from llmkit.sandbox import seccomp

BOOT = Path(__file__).with_name("boot.py")
INSIDE = "/sandbox"
"""Folder of the program and its files inside the sandbox, read only."""
_USER_IDS = range(61_184, 65_520)  # reserved by systemd for dynamic users
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_ADVICE = "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
_PROBE = """
import os, time
children = 0
try:
    for _ in range(12):
        if os.fork() == 0:
            time.sleep(9)
            os._exit(0)
        children += 1
except OSError:
    pass
print(os.getuid(), children, len(os.listdir(".")), os.path.exists("/etc/passwd"), len(os.environ) < 9)
"""

Mode = Literal["root", "user"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of the code."""

    cpu: int
    """CPU seconds of one process."""
    memory: int
    """Bytes of address space of one process."""
    file: int
    """Bytes of one file."""
    folder: int
    """Bytes of all files together."""
    processes: int
    """Processes and threads at a time."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command and the data that it reads from file descriptors."""

    command: list[str]
    data: dict[int, bytes] = field(default_factory=dict)
    """Bytes by position in the command; the number of a file descriptor with them goes to that position."""


def isolated_program(limits: Limits, arguments: Sequence[str], files: Mapping[str, str]) -> Program:
    """The command ``python ARGUMENTS`` in bubblewrap, with `files` in :data:`INSIDE`.

    Raises:
        SandboxError: this machine cannot isolate code; the message says what to do.
    """
    return _bubblewrap(limits, arguments, files, isolation())


@lru_cache(maxsize=1)
def isolation() -> Mode:
    """The mode in which bubblewrap works on this machine, found once by a probe.

    Raises:
        SandboxError: bubblewrap is missing or does not isolate; the message says what to do.
    """
    if sys.platform != "linux":
        raise SandboxError(f"untrusted code runs on Linux only: llmkit cannot isolate it on {platform.system()}")
    if shutil.which("bwrap") is None:
        raise SandboxError(f"untrusted code was not run: bubblewrap is not installed; {_ADVICE}")

    failed = []
    modes: tuple[Mode, ...] = ("root", "user") if os.getuid() == 0 else ("user",)
    for mode in modes:
        failure = _probe(mode)
        if not failure:
            return mode
        failed.append(failure)
    raise SandboxError(
        f"untrusted code was not run: bubblewrap does not isolate here ({'; '.join(failed)}). In a container, allow "
        "user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces; AppArmor may forbid them)"
    )


def _probe(mode: Mode) -> str:
    """Run a probe and return why the mode does not isolate; empty: it does."""
    limits = Limits(cpu=5, memory=1 << 29, file=1 << 20, folder=1 << 20, processes=6)
    program = _bubblewrap(limits, [f"{INSIDE}/probe.py"], {"probe.py": _PROBE}, mode)
    try:
        with open_descriptors(program) as command:
            done = subprocess.run(
                command.arguments, pass_fds=command.descriptors, capture_output=True, text=True, timeout=20, env={},
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    user, children, entries, passwd, environment = done.stdout.split()
    if int(children) >= 12:
        return "the number of processes is not limited"
    if (entries, passwd, environment) != ("0", "False", "True") or (mode == "root" and user == "0"):
        return f"the probe could read more than it should: {done.stdout.strip()}"
    return ""


def _bubblewrap(limits: Limits, arguments: Sequence[str], files: Mapping[str, str], mode: Mode) -> Program:
    python, folders, hidden = _python()
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if mode == "root":
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--cap-drop", "ALL"]
    command += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"]
    for name, value in (("PATH", ""), ("HOME", "/work"), ("LANG", "C.UTF-8"), ("PYTHONHASHSEED", "0")):
        command += ["--setenv", name, value]
    parents = {str(above) for place in [*folders, f"{INSIDE}/x", "/dev/x"] for above in Path(place).parents}
    for folder in sorted(parents - {"/"}):
        command += ["--perms", "0755", "--dir", folder]  # bubblewrap alone would make them readable for root only
    for folder in folders:
        command += ["--ro-bind", folder, folder]
    for folder in hidden:
        command += ["--tmpfs", folder, "--remount-ro", folder]
    for device in ("null", "zero", "urandom"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    command += ["--perms", "0777", "--size", str(limits.folder), "--tmpfs", "/work", "--chdir", "/work"]
    command += ["--symlink", "/work", "/tmp"]  # noqa: S108  the sandbox's own
    data: dict[int, bytes] = {}
    for name, text in {"boot.py": BOOT.read_text(encoding="utf-8"), **files}.items():
        data[len(command) + 3] = text.encode("utf-8", "surrogatepass")
        command += ["--perms", "0444", "--ro-bind-data", "", f"{INSIDE}/{name}"]
    calls = seccomp.program()
    if calls is not None:
        data[len(command) + 1] = calls
        command += ["--seccomp", ""]
    user = secrets.choice(_USER_IDS) if mode == "root" else 0
    boot_limits = {"cpu": limits.cpu, "memory": limits.memory, "file": limits.file, "processes": limits.processes}
    command += ["--remount-ro", "/", "--", python, "-I", "-S", "-B", f"{INSIDE}/boot.py"]
    command += [json.dumps({**boot_limits, "user": user}), python, "-I", "-S", "-B", *arguments]
    return Program(command, data)


@lru_cache(maxsize=1)
def _python() -> tuple[str, list[str], list[str]]:
    """The interpreter (not that of a virtual environment), the paths it reads, and package folders to hide in them."""
    python = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve())
    stdlib = sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix})
    own = Path(sys.base_prefix, "lib")
    system = sys.base_prefix in ("/usr", "/usr/local")
    shared = sorted(map(str, own.glob("libpython*"))) if system else [str(own)]
    folders = [*(name for name in _LIBRARIES if Path(name).exists()), *shared, python, stdlib]
    packages = [Path(stdlib, "site-packages"), Path(stdlib, "dist-packages"), Path("/usr/lib/python3/dist-packages")]
    return python, folders, [str(path) for path in packages if path.is_dir()]


@dataclass(frozen=True, slots=True)
class Command:
    """A command with open file descriptors."""

    arguments: list[str]
    descriptors: tuple[int, ...]


@contextmanager
def open_descriptors(program: Program) -> Iterator[Command]:
    """Put the data of a program into memory files, which are closed at the end."""
    arguments = list(program.command)
    descriptors: list[int] = []
    try:
        for position, content in program.data.items():
            descriptor = os.memfd_create("llmkit-sandbox")
            descriptors.append(descriptor)
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            os.lseek(descriptor, 0, os.SEEK_SET)
            arguments[position] = str(descriptor)
        yield Command(arguments, tuple(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
