"""A few worker processes that can be killed, each one file at a time.

Own processes over pipes rather than `multiprocessing`: that imports the caller's main module again, which fails in
notebooks, on stdin and in every script without a guard; and answers come as JSON, so that a parser taken over by a
file sends data, not code.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

from llmkit.text.formats.limits import Limits
from llmkit.text.loading.parse import Parsed
from llmkit.text.loading.worker import undump

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from llmkit.text.loading.worker import main; main()"


class Worker:
    """One process, started when it is first needed and again after each death."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def parse(self, path: Path, id: str) -> Parsed:
        """Parse one file; a crash or the time limit costs this file only."""
        process = self._alive()
        if process is None or process.stdin is None or process.stdout is None:
            return Parsed("", "failed", "stopped")
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.limits.max_seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(json.dumps({"path": str(path), "id": id}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):
            answer = ""
        finally:
            timer.cancel()
            timer.join()  # a cancelled timer's thread lives on for a moment
        if late.is_set():
            self._end(process)
        if answer.endswith("\n"):
            return undump(answer)
        self._end(process)
        if late.is_set():
            return Parsed("", "timeout", f"parsing took more than {self.limits.max_seconds:g} s")
        code = process.returncode
        why = f"signal {-code}" if code and code < 0 else f"exit code {code}"
        return Parsed("", "failed", f"the parser crashed ({why})")

    def close(self) -> None:
        """Kill the process, whatever it does."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            self._end(process)

    def _alive(self) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._closed:
                return None
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, json.dumps(sys.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="ascii",
                    start_new_session=True,
                )
                if self._process.stdin is not None:
                    self._process.stdin.write(json.dumps(dataclasses.asdict(self.limits)) + "\n")
            return self._process

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
