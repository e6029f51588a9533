r"""Runs untrusted Python with limits, away from the machine, and says how it ended.

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
from llmkit.sandbox.isolation import BOOT, INSIDE, Limits, Program, jailed, opened

End = Literal["exit", "signal", "deadline", "output"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the code said, and how it ended."""

    stdout: str
    stderr: str
    code: int
    """Exit code; 128 and more: killed by that signal."""
    ended: End
    """exit; signal: killed, as by a limit; deadline: out of time; output: it said more than it may."""
    seconds: float

    @property
    def ok(self) -> bool:
        """It ended by itself, without an error."""
        return self.ended == "exit" and self.code == 0

    @property
    def why(self) -> str:
        """How it failed, in words for people and models; empty where it did not."""
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
    """Limits of untrusted code. It has no network, no file of the machine, no environment; the standard library."""

    seconds: float = Field(default=5.0, gt=0, le=600)
    """Until it is killed."""
    memory: int = Field(default=256, ge=64)
    """MiB of one process."""
    processes: int = Field(default=8, ge=1, le=512)
    """Processes and threads at a time."""
    folder: int = Field(default=32, ge=1)
    """MiB of files it may write, all of which are gone afterwards."""
    output: int = Field(default=64_000, ge=100)
    """Bytes it may print; with the next one it is killed."""
    isolation: Literal["bubblewrap", "unsafe-limits-only"] = "bubblewrap"
    """bubblewrap: isolated, or not run at all; unsafe-limits-only: with your rights, your files and your network, held
    by time and memory alone: for code you would run yourself."""

    def run(self, code: str, *, stdin: str = "", files: Mapping[str, str] | None = None) -> Outcome:
        """Run a Python program; its working folder is empty, `files` stand in ``/sandbox``.

        Raises:
            SandboxError: it cannot be isolated here, or a file's name is no plain name; nothing was run.
        """
        limits = Limits(
            cpu=math.ceil(self.seconds) + 1, memory=self.memory << 20, file=self.folder << 20, folder=self.folder << 20,
            processes=self.processes,
        )  # fmt: skip
        for name in files or ():
            if not re.fullmatch(r"\w[\w.-]*", name) or name in ("main.py", "boot.py"):
                raise SandboxError(f"{name!r} cannot be the name of a file beside the program")
        given = {"main.py": code, **(files or {})}
        if self.isolation == "bubblewrap":
            return self._watched(jailed(limits, [f"{INSIDE}/main.py"], given), stdin, None)
        with tempfile.TemporaryDirectory(prefix="llmkit-sandbox-", ignore_cleanup_errors=True) as folder:
            return self._weak(limits, given, stdin, Path(folder))

    def _weak(self, limits: Limits, files: Mapping[str, str], stdin: str, folder: Path) -> Outcome:
        work = folder / "work"
        work.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")
        # the processes of a user are counted all over the machine: a small limit would hit the user, not the code
        told = json.dumps({**asdict(limits), "processes": 4096, "user": 0})
        python = [sys.executable, "-I", "-S", "-B"]
        return self._watched(Program([*python, str(BOOT), told, *python, str(folder / "main.py")]), stdin, work)

    def _watched(self, program: Program, stdin: str, folder: Path | None) -> Outcome:
        began = time.monotonic()
        with opened(program) as command, tempfile.TemporaryFile() as given:
            given.write(stdin.encode("utf-8", "surrogatepass"))
            given.seek(0)
            process = subprocess.Popen(
                command.arguments, pass_fds=command.descriptors, stdin=given, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env={"PYTHONHASHSEED": "0"}, cwd=folder, start_new_session=True,
            )  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                texts, ended = self._heard(process.stdout, process.stderr, began + self.seconds)
                if ended == "exit":  # both ends are closed: it is ending by itself, or pretends to
                    ended = _ended(process, began + self.seconds)
            finally:
                _kill(process)
                process.stdout.close()
                process.stderr.close()
        code = process.returncode
        code = 128 - code if code < 0 else code
        if ended == "exit" and code > 128:
            ended = "signal"
        return Outcome(texts[0], texts[1], code, ended, time.monotonic() - began)

    def _heard(self, out: IO[bytes], err: IO[bytes], deadline: float) -> tuple[tuple[str, str], End]:
        """What is printed until both ends are closed, the time is up, or it is too much."""
        heard: dict[IO[bytes], list[bytes]] = {out: [], err: []}
        left = self.output
        ended: End = "exit"
        with selectors.DefaultSelector() as waiting:
            for pipe in heard:
                waiting.register(pipe, selectors.EVENT_READ, pipe)
            while waiting.get_map() and ended == "exit":
                passed = deadline - time.monotonic()
                ready = waiting.select(passed) if passed > 0 else []
                if not ready:
                    ended = "deadline"
                for key, _ in ready:
                    pipe = key.data
                    piece = os.read(pipe.fileno(), min(left, 65_536) + 1)
                    if not piece:
                        waiting.unregister(pipe)
                        continue
                    heard[pipe].append(piece[:left])
                    if len(piece) > left:
                        ended = "output"
                        break
                    left -= len(piece)
        said = tuple(b"".join(pieces).decode("utf-8", "replace") for pieces in heard.values())
        return (said[0], said[1]), ended


def _ended(process: subprocess.Popen[bytes], deadline: float) -> End:
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return "deadline"
    return "exit"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its group; with the first process of its namespace, every other in it is gone too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
