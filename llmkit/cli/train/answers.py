"""The command `llmkit train answers`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from llmkit.errors import DataError


@click.command("answers")
@click.option("--task", "tasks", multiple=True, required=True, metavar="NAME|FILE", help="Its questions; repeatable.")
@click.option("--out", required=True, metavar="FILE", help="JSONL to write.")
@click.option("--without", metavar="TASK", help="Leave out questions on documents of this task, which judges later.")
@click.option("--task-set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change the tasks; repeatable.")
@click.option("--passages", type=click.IntRange(1, 20), default=3, show_default=True, help="Shown at most.")
@click.option(
    "--refuse", type=click.FloatRange(0, 3), default=0.5, show_default=True,
    help="Questions asked in vain for each one that is answered.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--knowledge", default=".llmkit/train", show_default=True, metavar="DIR", help="Where corpora are kept.")
def command(
    tasks: tuple[str, ...], out: str, without: str | None, overrides: tuple[str, ...], passages: int, refuse: float,
    seed: int, knowledge: str,
) -> None:  # fmt: skip
    """Rows that teach a model to answer from passages, and to refuse, from the questions of tasks."""
    from llmkit.config import build_part
    from llmkit.evaluation.tasks.corpus import corpus_knowledge
    from llmkit.evaluation.tasks.rows import BadRow
    from llmkit.evaluation.tasks.task import load_task
    from llmkit.training.synthetic.answer_rows import Counts, question_rows
    from llmkit.types import Document, Sample

    retriever = build_part("retriever", "hybrid")
    judged: set[str] = set()
    if without:
        judged = {one.text for one in load_task(without).dataset.documents() if isinstance(one, Document)}
    target, counts, left_out = Path(out), Counts(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.tmp")
    with fresh.open("w", encoding="utf-8") as file:
        for name in tasks:
            task = load_task(name, overrides)
            taken = {one.id for one in task.dataset.documents() if isinstance(one, Document) and one.text in judged}
            samples = []
            for sample in task.dataset.samples():
                if isinstance(sample, BadRow):
                    raise DataError(str(sample))
                assert isinstance(sample, Sample)
                if taken & set(sample.relevant):
                    left_out += 1
                else:
                    samples.append(sample)
            with corpus_knowledge(task, Path(knowledge), lambda text: click.echo(text, err=True)) as kb:
                made = question_rows(
                    kb, retriever, samples, counts, passages=passages, refuse=refuse, seed=seed  # type: ignore[arg-type]
                )  # fmt: skip
                for row in made:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    fresh.replace(target)
    click.echo(
        f"{target}: {counts.answered} rows with an answer, {counts.refused} to refuse, over {counts.contexts} lists of "
        "passages"
    )
    told = {
        "left out, no relevant passage holds an answer word for word": counts.without_answer_in_text,
        f"left out, on documents of {without}": left_out,
    }
    for what, count in told.items():
        if count:
            click.echo(f"{count} questions {what}", err=True)
