"""A training in a process of its own, to be killed: ``python lora_killed.py RECIPE``; says a line a step."""

import sys

from llmkit.training.lora.recipe import load_recipe
from llmkit.training.lora.train import prepare, train

train(
    prepare(load_recipe(sys.argv[1])),
    on_step=lambda report: (sys.stdout.write(f"{report.step}\n"), sys.stdout.flush()),
)
