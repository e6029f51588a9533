"""Races replayed on matrices of scores: how often they are wrong, and what they cost beside the whole grid.

    python benchmarks/races.py                                    # made-up matrices
    python benchmarks/races.py runs/nq-dev/* --figure right       # real ones: finished runs of one task

A replay shuffles the items and the arms and runs the race; its truth is the matrix's own means. Wrong is a winner, or
the leader of a tie, that is worse than the best arm by more than epsilon.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmkit.evaluation.analysis.statistics import wilson
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.experiments.race.race import Race
from llmkit.experiments.race.strategies import LUCB, EpsilonGreedy, SuccessiveElimination, TopTwoThompson


def replay(scores, strategy, seed, block, epsilon, delta):
    chance = np.random.default_rng(seed)
    places = chance.permutation(scores.shape[1])  # else the best of those made up would always be the first
    shuffled = scores[chance.permutation(len(scores))][:, places]
    race = Race(scores.shape[1], len(scores), epsilon=epsilon, delta=delta)
    while (decision := race.decision()).kind == "undecided":
        arms = strategy.next(race, chance)
        if not arms:
            break
        for arm in arms:
            seen = int(race.seen[arm])
            race.add_scores(arm, shuffled[seen : seen + block, arm])
    return decision, int(places[decision.best])


def made_up(chance, items, means):
    """Right or wrong; an item's difficulty is shared by the arms (correlation about 0.7)."""
    luck = 0.6 * chance.random((items, 1)) + 0.4 * chance.random((items, len(means)))
    return np.stack([luck[:, n] < np.quantile(luck[:, n], mean) for n, mean in enumerate(means)], axis=1).astype(float)


def matrices(arguments):
    """(name, a function of the replay's number) for each kind."""
    if arguments.runs:
        folders = [RunFolder(Path(run)) for run in arguments.runs]
        rows = [{row["id"]: row["scores"].get(arguments.figure) for row in one.scores()} for one in folders]
        names = [name for name in rows[0] if all(row.get(name) is not None for row in rows)]
        real = np.array([[row[name] for row in rows] for name in names])
        best = np.sort(real.mean(axis=0))[::-1]
        print(f"{len(names)} items scored by all of {len(folders)} runs; means {np.round(best, 3)}")
        yield "real runs", lambda _: real
        return
    k, n = arguments.arms, arguments.items
    for name, means in [
        ("best leads by 5 points, others spread over 30", [0.7, *np.linspace(0.65, 0.35, k - 1)]),
        ("best leads by 10 points, others spread over 30", [0.7, *np.linspace(0.6, 0.3, k - 1)]),
        ("best leads by 5 points, all others equal", [0.7] + [0.65] * (k - 1)),
        ("two lead, 1 point apart", [0.7, 0.69, *np.linspace(0.6, 0.3, k - 2)]),
    ]:
        yield name, lambda seed, means=means: made_up(np.random.default_rng(10_000 + seed), n, means)
    same = lambda seed: np.repeat(made_up(np.random.default_rng(seed), n, [0.6]), k, axis=1)  # noqa: E731
    yield "identical arms", same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--figure", default="right")
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--arms", type=int, default=16)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--epsilon", type=float, default=0.02)
    parser.add_argument("--delta", type=float, default=0.05)
    parser.add_argument("--only", default="", help="matrices with this in their name")
    parser.add_argument("--strategies", default="successive,lucb,thompson,epsilon-greedy")
    arguments = parser.parse_args()
    known = {one.type: one for one in (SuccessiveElimination(), LUCB(), TopTwoThompson(), EpsilonGreedy())}
    for name, make in matrices(arguments):
        if arguments.only not in name:
            continue
        print(f"\n{name}", flush=True)
        for word in arguments.strategies.split(","):
            wrong, kinds, shares = 0, dict.fromkeys(("winner", "tie", "undecided"), 0), []
            for seed in range(arguments.replays):
                scores = make(seed)
                found, best = replay(scores, known[word], seed, arguments.block, arguments.epsilon, arguments.delta)
                means = scores.mean(axis=0)
                wrong += found.kind != "undecided" and means.max() - means[best] > arguments.epsilon + 1e-9
                kinds[found.kind] += 1
                shares.append(found.calls / scores.size)
            low, high = wilson(wrong, arguments.replays)
            quarter = np.quantile(shares, [0.5, 0.9])
            print(
                f"  {word:15} wrong {wrong / arguments.replays:.3f} [{low:.3f}, {high:.3f}]  calls, share of the grid: "
                f"median {quarter[0]:.2f}, p90 {quarter[1]:.2f}  "
                + ", ".join(f"{kind} {count}" for kind, count in kinds.items() if count),
                flush=True,
            )


if __name__ == "__main__":
    main()
