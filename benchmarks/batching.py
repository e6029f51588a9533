"""Many callers on one local model: tokens per second, first tokens, shared prompts, and the stability of answers.

    taskset -c 1 python benchmarks/batching.py [speed] [prefix] [chunks] [agreement] [--rounds 3] [--threads 1]

`speed` compares one slot, for which the other callers wait, with eight slots, in alternating rounds. Other work on the
machine affects wall time, so the script also prints tokens per second of processor time. Without names, all parts run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile

from llmkit.models.chat import load_chat
from llmkit.models.local import llamacpp

CALLERS = (1, 2, 4, 8)
SLOTS = 8
TOKENS = 48
TOPICS = (
    "pumps trains rivers bread glass bees clouds maps clocks ships bridges soap paper salt wool stars wells kites ink "
    "roads mills drums apples lamps doors wheels gardens islands letters rain snow bells ropes stones boats candles "
    "coffee horses walls seeds"
).split()


@dataclass
class Call:
    first: float
    """Seconds to the first token."""
    gap: float
    """Longest wait between two tokens, in seconds."""
    tokens: int
    read: int
    """Tokens of the prompt."""
    cached: int
    text: str


def load(slots: int, threads: int, context: int = 2048):
    model = load_chat({"model": "local:smollm2", "slots": slots, "context": context, "threads": threads})
    model.bind(max_tokens=1).invoke("Hello.")
    return model


def call(model, text: str, *, system: str = "", **options) -> Call:
    pieces, times, total = [], [time.perf_counter()], None
    messages = [("system", system), ("user", text)] if system else [("user", text)]
    for piece in model.bind(**{"max_tokens": TOKENS, **options}).stream(messages):
        total = piece if total is None else total + piece
        if piece.text:
            pieces.append(piece.text)
            times.append(time.perf_counter())
    used, gaps = total.usage_metadata, [b - a for a, b in pairwise(times[1:])]
    cached = total.response_metadata["cached_tokens"]
    first = times[1] - times[0] if len(times) > 1 else time.perf_counter() - times[0]
    return Call(first, max(gaps, default=0), used["output_tokens"], used["input_tokens"], cached, "".join(pieces))


def run_together(jobs) -> tuple[list[Call], float, float]:
    """Run each job in a thread; return their results, and the wall and processor seconds."""
    calls: list = [None] * len(jobs)

    def work(n: int) -> None:
        calls[n] = jobs[n]()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(jobs))]
    began, used = time.perf_counter(), time.process_time()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return calls, time.perf_counter() - began, time.process_time() - used


def summarize(calls: list[Call], wall: float, used: float) -> str:
    tokens, firsts = sum(one.tokens for one in calls), sorted(one.first for one in calls)
    p95 = firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))]
    return (
        f"{tokens / wall:6.1f} tokens/s, {tokens / used:6.1f} per processor second; first token "
        f"p50 {statistics.median(firsts):.2f} s, p95 {p95:.2f} s"
    )


def speed(rounds: int, threads: int) -> None:
    ways = {"one slot": load(1, threads), f"{SLOTS} slots": load(SLOTS, threads)}
    for callers in CALLERS:
        sums: dict[str, list] = {name: [[], 0.0, 0.0] for name in ways}
        for n in range(rounds):
            for name, model in ways.items() if n % 2 == 0 else reversed(ways.items()):
                topics = [TOPICS[(n * callers + i) % len(TOPICS)] for i in range(callers)]
                jobs = [partial(call, model, f"Write a story about {topic}.") for topic in topics]
                calls, wall, used = run_together(jobs)
                sums[name][0] += calls
                sums[name][1] += wall
                sums[name][2] += used
        for name, (calls, wall, used) in sums.items():
            print(f"speed {callers} callers, {name:8}: {summarize(calls, wall, used)}", flush=True)


def prefix(rounds: int, threads: int) -> None:
    """Four callers ask different questions after the same 500 tokens: at first, after another caller, and uncached."""
    ways = {"one slot": load(1, threads), "4 slots": load(4, threads)}
    for turn in ("first callers", "after another caller", "no cache"):
        for name, model in ways.items():
            body = model._engine._body
            if turn == "no cache":
                model._engine._body = lambda request, body=body: {**body(request), "cache_prompt": False}
            calls, wall, used = [], 0.0, 0.0
            for n in range(rounds):
                shared = f"{turn} {n}. " + "The warranty covers parts for 24 months, not water. " * 40
                if turn == "after another caller":
                    call(model, "And?", system=shared, max_tokens=1)
                jobs = [partial(call, model, f"And {topic}?", system=shared, max_tokens=8) for topic in TOPICS[:4]]
                got, a, b = run_together(jobs)
                calls, wall, used = calls + got, wall + a, used + b
            model._engine._body = body
            known = sum(one.cached for one in calls) / sum(one.read for one in calls)
            cached = f"{known:.0%} of {calls[0].read} tokens cached"
            print(f"prefix, {turn}, {name}: {cached}; {summarize(calls, wall, used)}")


def call_later(model, text: str) -> Call:
    time.sleep(0.5)
    return call(model, text, max_tokens=1)


def chunks(rounds: int, threads: int) -> None:
    """Speed of reading a prompt of 650 tokens, and how long that delays a running answer, by size of the chunks."""
    for size in (64, 128, 256, 512):
        llamacpp._CHUNK = size
        model = load(2, threads)
        rates, gaps = [], []
        for n in range(rounds):
            long = f"{n} {size}. " + "The pump in hall seven rests in May and is serviced in June. " * 45
            used = time.process_time()
            one = call(model, long, max_tokens=1)
            rates.append((one.read - one.cached) / (time.process_time() - used))
            story = partial(call, model, "Write a long story about a pump.", max_tokens=96)
            calls, _, _ = run_together([story, partial(call_later, model, f"Once more. {long}")])
            gaps.append(calls[0].gap)
        print(
            f"chunks of {size}: {statistics.median(rates):.0f} tokens of prompt per processor second, a neighbour's "
            f"longest pause {statistics.median(gaps):.2f} s"
        )


def shared_prefix(one: str, other: str) -> float:
    """Return the share of a text before the first difference."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))) / max(1, len(one))


def agreement(rounds: int, threads: int) -> None:
    """Count how many answers are the same text when eight callers ask at the same time as when each asks alone."""
    model = load(SLOTS, threads)
    prompts = [f"Tell me three things about {topic}." for topic in TOPICS[: SLOTS * rounds]]
    kinds = {"greedy": {"temperature": 0.0}, "seeded at 0.8": {"temperature": 0.8, "seed": 7}}
    for kind, options in kinds.items():
        alone = [call(model, text, max_tokens=32, **options).text for text in prompts]
        again = [call(model, text, max_tokens=32, **options).text for text in prompts]
        company: list[str] = []
        for n in range(0, len(prompts), SLOTS):
            jobs = [partial(call, model, text, max_tokens=32, **options) for text in prompts[n : n + SLOTS]]
            company += [one.text for one in run_together(jobs)[0]]
        for name, other in (("alone again", again), ("with others", company)):
            same = sum(a == b for a, b in zip(alone, other, strict=True))
            parts = [shared_prefix(a, b) for a, b in zip(alone, other, strict=True)]
            print(
                f"agreement, {kind}, {name}: {same} of {len(prompts)} texts the same, {statistics.mean(parts):.0%} of "
                "the characters before the first difference",
                flush=True,
            )


PARTS = {one.__name__: one for one in (speed, prefix, chunks, agreement)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "all"
    print(f"SmolLM2-135M, {given.threads} thread(s) on cores {cores}, load {os.getloadavg()[0]:.1f}")
    for name in given.names:
        PARTS[name](given.rounds, given.threads)


if __name__ == "__main__":
    main()
