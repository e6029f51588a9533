"""A writer is killed at random while it adds to a store in a loop: llmkit beside LangChain's `FAISS.save_local`.

    make benchmarks/.venv/stores.stamp && python benchmarks/crashes.py --kills 100

Each kill (SIGKILL) falls between 0 and 0.5 s after the first batch was saved, on a copy of a store of 5,000 rows;
then a fresh process opens what is left and looks 50 rows up by their own vectors. `last`: it opened with every batch
that was told to be saved; `older`: without some; `not opened`: an exception; `wrong`: it gave another row's text.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Store:
    """A process that has everything imported, and forks for each thing it is asked."""

    def __init__(self, name, python):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
        self.process = subprocess.Popen(
            [python, str(HERE / "peers/crash_store.py"), name], env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, words):
        print(words, file=self.process.stdin, flush=True)
        return self.process.stdout.readline()

    def kill_while_writing(self, folder, chance):
        """Returns the last batch that was told to be saved."""
        pid = int(self.ask(f"write {folder}"))
        told = self.process.stdout.readline()
        time.sleep(chance.random() * 0.5)
        os.kill(pid, signal.SIGKILL)
        for line in iter(lambda: self.process.stdout.readline(), "dead\n"):
            told = line if line.startswith("told ") and line.endswith("\n") else told
        return int(told.split()[1])


def fate(seen, told):
    if "error" in seen:
        return "not opened"
    if seen["wrong"] or seen["batches"] != int(seen["batches"]):
        return "wrong"
    return "last" if seen["batches"] >= told else "older"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--peers", default=str(HERE / ".venv/bin/python"))
    given = arguments.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="llmkit-crashes-"))
    stores = {"llmkit": Store("llmkit", sys.executable), "langchain": Store("langchain", given.peers)}
    chance = random.Random(5)
    fates, said = {name: Counter() for name in stores}, {name: Counter() for name in stores}
    try:
        for name, store in stores.items():
            store.ask(f"create {scratch / name}")
        for _ in range(given.kills):
            for name, store in stores.items():
                trial = scratch / "trial"
                shutil.copytree(scratch / name, trial)
                told = store.kill_while_writing(trial, chance)
                seen = json.loads(store.ask(f"look {trial}"))
                fates[name][fate(seen, told)] += 1
                said[name][seen.get("error", "").partition("(")[0]] += 1
                shutil.rmtree(trial)
    finally:
        for store in stores.values():
            store.process.stdin.close()
            store.process.wait()
        shutil.rmtree(scratch)
    print(f"{given.kills} kills each        last  older  not opened  wrong")
    for name, counts in fates.items():
        print(f"{name:<20} {counts['last']:7} {counts['older']:6} {counts['not opened']:11} {counts['wrong']:6}")
        for message, count in said[name].most_common(4):
            if message:
                print(f"    {count} x {message}")


if __name__ == "__main__":
    main()
