"""DSPy's optimisers on given questions, behind a given server. Runs in the peer's own environment.

    python optimise_dspy.py GIVEN.json

GIVEN holds "url", "train", "held", "labels", "budget", "seed", "optimiser", "examples", "tokens". Prints one JSON
object: scores on the held-back questions before and after, and where in the run they were asked.
"""

import json
import os
import re
import sys
import tempfile
import time
import urllib.request

os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp()  # every run pays for its own calls
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # nothing is fetched

import dspy

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)


def asked() -> int:
    with urllib.request.urlopen(given["url"].removesuffix("/v1") + "/count") as reply:
        return int(reply.read())


def label(text: str) -> str:
    """The one label a text names, as our metric reads it."""
    found = {one for one in given["labels"] if re.search(rf"\b{re.escape(one)}\b", text or "", re.IGNORECASE)}
    return found.pop() if len(found) == 1 else ""


def metric(example, prediction, trace=None):
    return label(prediction.answer) == example.answer


def held(program) -> list[float]:
    scores = []
    for row in given["held"]:
        try:
            scores.append(float(label(program(question=row["question"]).answer) == row["answer"]))
        except Exception:
            scores.append(0.0)  # a reply it cannot read
    return scores


def examples(rows):
    return [dspy.Example(question=row["question"], answer=row["answer"]).with_inputs("question") for row in rows]


model = dspy.LM("openai/model", api_base=given["url"], api_key="x", temperature=0.0, max_tokens=given["tokens"])
dspy.configure(lm=model)
program = dspy.Predict("question -> answer")
train, seed = examples(given["train"]), given["seed"]
half = len(train) // 3
learn, judge = train[:half], train[half:]
start = asked()
before = held(program)
opened, began = asked(), time.perf_counter()
if given["optimiser"] == "random-search":
    from dspy.teleprompt import BootstrapFewShotWithRandomSearch

    candidates = max(1, (given["budget"] - half) // len(judge) - 3)  # it also tries none, labelled and one bootstrapped
    optimiser = BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=given["examples"], max_labeled_demos=given["examples"],
        num_candidate_programs=candidates, num_threads=1,
    )  # fmt: skip
    best = optimiser.compile(program, trainset=learn, valset=judge)
else:
    from dspy.teleprompt import MIPROv2

    batch = min(25, len(judge))
    trials = max(2, (given["budget"] - 2 * len(judge)) // (batch + len(judge) // 5))
    optimiser = MIPROv2(
        metric=metric, auto=None, num_candidates=6, max_bootstrapped_demos=given["examples"],
        max_labeled_demos=given["examples"], num_threads=1, seed=seed,
    )  # fmt: skip
    best = optimiser.compile(
        program, trainset=learn, valset=judge, num_trials=trials, minibatch=True, minibatch_size=batch,
        minibatch_full_eval_steps=5,
    )  # fmt: skip
closed, seconds = asked(), time.perf_counter() - began
after = held(best)
instruction = best.predictors()[0].signature.instructions
found = {
    "before": before,
    "after": after,
    "calls": closed - opened,
    "held_calls": opened - start,
    "seconds": seconds,
    "instruction": instruction,
    "examples": len(best.predictors()[0].demos),
}
print("RESULT " + json.dumps(found))
