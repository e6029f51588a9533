r"""Runs untrusted Python isolated from the machine and with limits.

::

    Sandbox(seconds=2).run("print(6 * 7)").stdout    # "42\n"
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import Field

from llmkit.errors import SandboxError
from llmkit.part import Part
from llmkit.sandbox.isolation import BOOT, INSIDE, Limits, Program, isolated_program, open_descriptors

End = Literal["exit", "signal", "deadline", "output"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The output of a program, and how it ended."""

    stdout: str
    stderr: str
    code: int
    """Exit code; a program killed by signal N has 128 + N."""
    ended: End
    """exit: it ended by itself; signal: a limit killed it; deadline: time ran out; output: it printed too much."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and without an error."""
        return self.ended == "exit" and self.code == 0

    @property
    def why(self) -> str:
        """How it failed, as a sentence for people and models; empty where it did not fail."""
        if self.ok:
            return ""
        if self.ended == "deadline":
            return f"it was not done after {self.seconds:.0f} seconds"
        if self.ended == "output":
            return "it printed too much"
        if self.ended == "signal":
            return f"it was killed by a limit (signal {self.code - 128})"
        return (self.stderr.strip().splitlines() or [f"it ended with exit code {self.code}"])[-1][:300]


class Sandbox(Part):
    """Runs untrusted code with the standard library and within limits; no network, no files, no environment."""

    seconds: float = Field(default=5.0, gt=0, le=600)
    """Seconds after which the code is killed."""
    memory: int = Field(default=256, ge=64)
    """MiB of memory of one process."""
    processes: int = Field(default=8, ge=1, le=512)
    """Maximum number of processes and threads at a time."""
    folder: int = Field(default=32, ge=1)
    """MiB of files that the code may write; all files are deleted afterwards."""
    output: int = Field(default=64_000, ge=100)
    """Bytes that the code may print; it is killed when it prints more."""
    isolation: Literal["bubblewrap", "unsafe-limits-only"] = "bubblewrap"
    """bubblewrap: the code is isolated, or not run at all. unsafe-limits-only: the code has your rights, files and
    network, and only time and memory are limited; use it for code that you would run yourself."""

    def run(self, code: str, *, stdin: str = "", files: Mapping[str, str] | None = None) -> Outcome:
        """Run a Python program in an empty working folder.

        Args:
            code: the program.
            stdin: text on its standard input.
            files: further files by name, which the program finds in ``/sandbox``.

        Raises:
            SandboxError: this machine cannot isolate code, or a file name is not a plain name; nothing was run.
        """
        limits = Limits(
            cpu=math.ceil(self.seconds) + 1, memory=self.memory << 20, file=self.folder << 20, folder=self.folder << 20,
            processes=self.processes,
        )  # fmt: skip
        for name in files or ():
            if not re.fullmatch(r"\w[\w.-]*", name) or name in ("main.py", "boot.py"):
                raise SandboxError(
                    f"{name!r} cannot be the name of a further file: use a plain name other than main.py and boot.py"
                )
        all_files = {"main.py": code, **(files or {})}
        if self.isolation == "bubblewrap":
            return self._supervise(isolated_program(limits, [f"{INSIDE}/main.py"], all_files), stdin, None)
        with tempfile.TemporaryDirectory(prefix="llmkit-sandbox-", ignore_cleanup_errors=True) as folder:
            return self._run_unisolated(limits, all_files, stdin, Path(folder))

    def _run_unisolated(self, limits: Limits, files: Mapping[str, str], stdin: str, folder: Path) -> Outcome:
        work = folder / "work"
        work.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")
        # the limit counts all processes of the user: a small one would affect the user, not only the code
        boot_limits = json.dumps({**asdict(limits), "processes": 4096, "user": 0})
        python = [sys.executable, "-I", "-S", "-B"]
        return self._supervise(
            Program([*python, str(BOOT), boot_limits, *python, str(folder / "main.py")]), stdin, work
        )

    def _supervise(self, program: Program, stdin: str, folder: Path | None) -> Outcome:
        began = time.monotonic()
        with open_descriptors(program) as command, tempfile.TemporaryFile() as source:
            source.write(stdin.encode("utf-8", "surrogatepass"))
            source.seek(0)
            process = subprocess.Popen(
                command.arguments, pass_fds=command.descriptors, stdin=source, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env={"PYTHONHASHSEED": "0"}, cwd=folder, start_new_session=True,
            )  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                texts, ended = self._collect_output(process.stdout, process.stderr, began + self.seconds)
                if ended == "exit":  # both pipes are closed, but the process may still be running
                    ended = _wait(process, began + self.seconds)
            finally:
                _kill(process)
                process.stdout.close()
                process.stderr.close()
        code = process.returncode
        code = 128 - code if code < 0 else code
        if ended == "exit" and code > 128:
            ended = "signal"
        return Outcome(texts[0], texts[1], code, ended, time.monotonic() - began)

    def _collect_output(self, out: IO[bytes], err: IO[bytes], deadline: float) -> tuple[tuple[str, str], End]:
        """Standard output and error until both are closed, the deadline has passed, or there is too much output."""
        pieces: dict[IO[bytes], list[bytes]] = {out: [], err: []}
        left = self.output
        ended: End = "exit"
        with selectors.DefaultSelector() as waiting:
            for pipe in pieces:
                waiting.register(pipe, selectors.EVENT_READ, pipe)
            while waiting.get_map() and ended == "exit":
                remaining = deadline - time.monotonic()
                ready = waiting.select(remaining) if remaining > 0 else []
                if not ready:
                    ended = "deadline"
                for key, _ in ready:
                    pipe = key.data
                    piece = os.read(pipe.fileno(), min(left, 65_536) + 1)
                    if not piece:
                        waiting.unregister(pipe)
                        continue
                    pieces[pipe].append(piece[:left])
                    if len(piece) > left:
                        ended = "output"
                        break
                    left -= len(piece)
        stdout, stderr = (b"".join(parts).decode("utf-8", "replace") for parts in pieces.values())
        return (stdout, stderr), ended


def _wait(process: subprocess.Popen[bytes], deadline: float) -> End:
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return "deadline"
    return "exit"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its group. The first process of a namespace takes all others in it along."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
