"""Untrusted code: what it may do, and that everything else fails quickly and harms nothing."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time

import pytest

from llmkit.errors import SandboxError
from llmkit.sandbox import Sandbox, isolation, seccomp
from llmkit.sandbox.unit_tests import extract_code, run_tests

try:
    isolation.isolation()
    WHY = ""
except SandboxError as error:
    WHY = str(error)

isolated = pytest.mark.skipif(bool(WHY), reason=WHY)
SHORT = Sandbox(seconds=3)


@isolated
def test_ordinary_code_runs():
    done = SHORT.run("import json, math, statistics\nprint(json.dumps([6 * 7, math.isqrt(50)]))\n")
    assert (done.stdout, done.stderr, done.code, done.ended, done.ok, done.why) == (
        "[42, 7]\n",
        "",
        0,
        "exit",
        True,
        "",
    )
    done = SHORT.run("print(input()[::-1])", stdin="håll\n")
    assert done.stdout == "llåh\n"
    failed = SHORT.run("def f():\n    raise ValueError('no')\nf()")
    assert (failed.ok, failed.code, failed.why) == (False, 1, "ValueError: no")


@isolated
def test_files_are_written_in_its_own_folder_and_gone_the_next_time():
    assert SHORT.run("open('a.txt', 'w').write('x'); import os; print(os.listdir())").stdout == "['a.txt']\n"
    assert SHORT.run("import os; print(os.listdir(), os.listdir('/tmp'))").stdout == "[] []\n"


HOSTILE = {
    "reads the users": ("open('/etc/passwd').read()", "FileNotFoundError"),
    "reads the shadow": ("open('/etc/shadow').read()", "FileNotFoundError"),
    "lists the home": ("import os; print(os.listdir(os.path.expanduser('~root')))", "Error"),
    "climbs out": ("open('../../../../etc/hostname').read()", "FileNotFoundError"),
    "other processes": ("import os; print(os.listdir('/proc'))", "FileNotFoundError"),
    "writes outside": ("open('/escaped', 'w')", "Read-only file system"),
    "writes beside the program": ("open('/sandbox/main.py', 'w')", "Error"),
    "writes into the library": ("import os; open(os.__file__, 'w')", "Error"),
    "fills the disk": ("for n in range(10**6): open(str(n), 'wb').write(bytes(10**6))", "No space left"),
    "one huge file": ("f = open('a', 'wb')\nwhile True: f.write(bytes(10**6))", "Error"),
    "takes memory": ("x = bytearray(10**11)", "MemoryError"),
    "takes memory in pieces": ("x = []\nwhile True: x.append(bytes(10**7))", "MemoryError"),
    "imports what is installed": ("import pydantic", "ModuleNotFoundError"),
    "a network socket": ("import socket; socket.socket()", "PermissionError"),
    "a socket of the virtual machine": ("import socket; socket.socket(socket.AF_VSOCK)", "PermissionError"),
    "a raw socket": ("import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW)", "PermissionError"),
    "a packet socket": ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "PermissionError"),
    "a name server": ("import urllib.request; urllib.request.urlopen('http://example.com', timeout=2)", "Error"),
    "becomes root": ("import os; os.setuid(0)" if os.getuid() == 0 else "import os; os.setuid(1)", "Error"),
    "signals its parent": ("import os; os.kill(os.getppid(), 9); raise OSError('still here')", "Error"),
    "mounts": (
        "import ctypes, os; r = ctypes.CDLL(None, use_errno=True).mount(b'none', b'/work', b'tmpfs', 0, None)\n"
        "raise OSError(ctypes.get_errno(), 'refused') if r else SystemExit('mounted')",
        "PermissionError",
    ),
    "new namespaces": (
        "import ctypes; r = ctypes.CDLL(None, use_errno=True).unshare(0x10000000)\n"
        "raise OSError(ctypes.get_errno(), 'refused') if r else SystemExit('done')",
        "PermissionError",
    ),
    "traces": (
        "import ctypes; r = ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0)\n"
        "raise OSError(ctypes.get_errno(), 'refused') if r == -1 else SystemExit('done')",
        "PermissionError",
    ),
    "through __import__": ("__import__('os').execv('/bin/sh', ['sh', '-c', 'id'])", "FileNotFoundError"),
    "a shell": ("import subprocess; subprocess.run(['/bin/sh', '-c', 'id'], check=True)", "FileNotFoundError"),
    "leaves a core": ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (10**6, 10**6))", "Error"),
    "raises its limits": ("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "Error"),
}


@isolated
@pytest.mark.parametrize("attack", HOSTILE)
def test_what_it_may_not_do_fails_and_says_so(attack):
    code, said = HOSTILE[attack]
    done = SHORT.run(code)
    assert not done.ok
    assert done.ended in ("exit", "signal")
    assert said in done.stderr, done.stderr


@isolated
@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("while True: pass", "deadline"),
        ("import time; time.sleep(99)", "deadline"),
        ("import signal, time\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
         "    except OSError: pass\nwhile True: time.sleep(1)", "deadline"),
        ("import os\nos.close(1); os.close(2)\nwhile True: pass", "deadline"),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "deadline"),
        ("while True: print('x' * 10000)", "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "output"),
    ],
    ids=["loop", "sleep", "deaf to signals", "closed its ends", "fork bomb", "flood", "flood of errors"],
)  # fmt: skip
def test_what_does_not_end_is_ended(code, ended):
    sandbox = Sandbox(seconds=1, output=50_000)
    done = sandbox.run(code)
    assert done.ended == ended
    assert done.seconds < 10
    assert len(done.stdout) + len(done.stderr) <= 50_000
    assert done.why


@isolated
def test_a_fork_bomb_stays_small():
    count = "import os, time\nn = 0\ntry:\n    while n < 100:\n        if os.fork() == 0:\n            time.sleep(9); os._exit(0)\n        n += 1\nexcept OSError: pass\nprint(n)"
    assert int(Sandbox(processes=6).run(count).stdout) < 8


@isolated
def test_children_left_behind_die_with_it():
    word = f"llmkit-left-behind-{os.getpid()}"
    code = f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    os.environ['{word}'] = '1'\n    os.close(1); os.close(2)\n    time.sleep(300)\nprint('gone')"
    began = time.monotonic()
    assert SHORT.run(code).stdout == "gone\n"
    assert time.monotonic() - began < 3
    for _ in range(50):  # the kernel clears a namespace away on its own time
        left = [name for name in os.listdir("/proc") if name.isdigit() and _is_ours(name)]
        if not left:
            break
        time.sleep(0.1)
    assert left == []


def _is_ours(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"/sandbox/main.py" in file.read() and os.stat(f"/proc/{pid}").st_uid in range(61_184, 65_520)
    except OSError:
        return False


@isolated
def test_the_environment_is_not_passed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    done = SHORT.run("import os; print(sorted(os.environ))")
    assert done.stdout == "['HOME', 'LANG', 'PATH', 'PWD', 'PYTHONHASHSEED']\n"
    assert "sk-secret" not in SHORT.run("import os; print(dict(os.environ), open('/proc/1/environ').read())").stdout


@isolated
@pytest.mark.network
def test_sockets_of_this_machine_are_out_of_reach(tmp_path):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    attack = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
    assert "PermissionError" in SHORT.run(attack).stderr
    path = str(tmp_path / "s")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    attack = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    assert "PermissionError" in SHORT.run(attack).stderr
    unix.close()
    server.close()


@isolated
def test_many_at_once_do_not_disturb_one_another():
    said = {}
    workers = [
        threading.Thread(target=lambda n=n: said.update({n: Sandbox(seconds=20).run(f"print({n})").stdout}))
        for n in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert said == {n: f"{n}\n" for n in range(6)}


@isolated
@pytest.mark.parametrize("code", ["\x00", "\ud800", "(" * 100_000, "-" * 100_000 + "1", "# coding: nonsense\n", ""])
def test_what_is_no_program_fails_in_there(code):
    assert SHORT.run(code).ended in ("exit", "signal", "output")


def test_nothing_is_run_where_nothing_isolates(monkeypatch):
    isolation.isolation.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="was not run: bubblewrap is not installed; install bubblewrap"):
        Sandbox().run("print(1)")
    isolation.isolation.cache_clear()
    monkeypatch.setattr(isolation.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="on Linux only"):
        Sandbox().run("print(1)")
    isolation.isolation.cache_clear()


def test_the_weak_mode_must_be_asked_for_by_name_and_still_has_limits(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    weak = Sandbox(isolation="unsafe-limits-only", seconds=2)
    assert weak.run("import os; print(os.listdir(), 'OPENAI_API_KEY' in os.environ)").stdout == "[] False\n"
    assert "MemoryError" in weak.run("x = bytearray(10**11)").stderr
    assert weak.run("while True: pass").ended in ("deadline", "signal")
    assert run_tests("def f(x): return x + 1", TESTS, weak).all_passed


@pytest.mark.parametrize("name", ["../escaped", "/etc/passwd", "a/b", "main.py", "boot.py", ""])
def test_a_file_beside_the_program_has_a_plain_name(name):
    with pytest.raises(SandboxError, match="cannot be the name"):
        Sandbox(isolation="unsafe-limits-only").run("", files={name: "x"})


def test_the_filter_knows_two_machines_and_no_other():
    for machine in ("x86_64", "aarch64"):
        program = seccomp.program(machine)
        assert len(program) % 8 == 0
        assert len(program) < 4096 * 8
    assert seccomp.program("riscv64") is None


TESTS = ["assert f(1) == 2", "assert f(2) == 3", "assert f(0) == 1"]


@isolated
@pytest.mark.parametrize(
    ("code", "passed", "said"),
    [
        ("def f(x): return x + 1", (True, True, True), ()),
        ("def f(x): return x + x", (True, False, False),
         ("assert f(2) == 3 failed: AssertionError; the left side is 4",
          "assert f(0) == 1 failed: AssertionError; the left side is 0")),
        ("import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x + 1", (True, False, False),
         ("assert f(2) == 3 was not finished: the code ended the program",)),
        ("def f(x):\n    while x == 2: pass\n    return x + 1", (True, False, False),
         ("assert f(2) == 3 was not finished: it was not done after 3 seconds",)),
        ("import sys\ndef f(x): sys.exit(0)", (False, False, False),
         tuple(f"{test} failed: SystemExit: 0" for test in TESTS)),
        ("print('assert passed {\"n\": 0, \"ok\": true}')", (False, False, False),
         tuple(f"{test} failed: NameError: name 'f' is not defined" for test in TESTS)),
        ("def f(x:\n", (False, False, False),
         ("The code does not load: SyntaxError: '(' was never closed in line 1: def f(x:",)),
        ("import numpy", (False, False, False),
         ("The code does not load: ModuleNotFoundError: No module named 'numpy'",)),
        ("raise SystemExit", (False, False, False), ("The code does not load: SystemExit",)),
        ("import os; os._exit(0)", (False, False, False), ("The code does not load: it ended before the first test",)),
        ("  ", (False, False, False), ("There is no code.",)),
    ],
    ids=["right", "wrong", "exits", "hangs", "sys.exit", "prints", "syntax", "import", "ends", "ends hard", "empty"],
)  # fmt: skip
def test_unit_tests_are_counted_and_told(code, passed, said):
    tested = run_tests(code, TESTS, SHORT)
    assert (tested.passed, tested.messages) == (passed, said)
    assert tested.share == sum(passed) / 3
    assert tested.all_passed is all(passed)


@isolated
def test_imports_stand_before_the_code_and_a_strange_test_fails_alone():
    tested = run_tests(
        "def f(x): return math.sqrt(x)", ["assert f(4) == 2", "assert ("], SHORT, imports=["import math"]
    )
    assert tested.passed == (True, False)
    assert "SyntaxError" in tested.messages[0]


def test_code_is_taken_out_of_a_reply():
    assert extract_code("Sure:\n```python\nx = 1\n```\nand\n```\ny = 2\n```\n") == "x = 1\n\ny = 2"
    assert extract_code("```python\nx = 1") == "x = 1"
    assert extract_code("x = 1\n") == "x = 1"


@isolated
@pytest.mark.slow
def test_the_solutions_of_mbpp_pass_their_tests(data):
    import json

    lines = (data / "tasks" / "mbpp" / "items.jsonl").read_text().splitlines()[::20]
    for row in map(json.loads, lines):
        assert run_tests(row["target"], row["tests"], Sandbox(seconds=20), imports=row["imports"]).all_passed, row["id"]
