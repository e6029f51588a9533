"""Grounding a Markdown answer: what is checked, and that nothing but marks is inserted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.pipeline import Pipeline
from llmkit.pipeline.run_context import RunContext
from llmkit.pipeline.steps.answering.ground import Ground
from llmkit.pipeline.steps.answering.markdown_sentences import find_sentences, insert_marks, remove_sentences
from llmkit.types import Answer, Chunk, Hit, State

PASSAGES = (
    "The Heron pump weighs 12 kg. It runs for 5 years without service. Its motor is made of steel.",
    "The warranty excludes batteries and seals. Claims are sent to the office in Bern. A form is needed.",
    "Open the lid before cleaning. Turn the key to the left. Wait ten seconds. The filter is washed by hand.",
    "ポンプの重さは12キロです。保証は五年です。",
)
HITS = tuple(
    Hit(Chunk(f"d{n}.txt", 0, 0, len(text), text, 20, title="Manual"), 1.0) for n, text in enumerate(PASSAGES, 1)
)
MARKDOWN = [
    "The Heron pump weighs 12 kg.",
    "The Heron pump weighs 12 kg. It runs for 5 years without service.",
    "# Warranty\n\nThe warranty excludes batteries and seals.",
    "Warranty\n========\n\nThe warranty excludes batteries and seals.",
    "The Heron pump weighs 12 kg.\n---\nIts motor is made of steel.",
    "The Heron pump weighs 12 kg.\n\n---\n\nIts motor is made of steel.",
    "1. Open the lid before cleaning.\n2. Turn the key to the left.\n3. Wait ten seconds.",
    "1) Open the lid before cleaning.\n2) Turn the key to the left.",
    "- Open the lid before cleaning.\n- Turn the key to the left.\n",
    "* Open the lid before cleaning\n* Turn the key to the left\n",
    "+ Open the lid before cleaning.\n\n+ Turn the key to the left.",
    "- Open the lid before cleaning.\n  - Turn the key to the left.\n    - Wait ten seconds.\n",
    "1. Open the lid before cleaning.\n   Turn the key to the left.\n\n   Wait ten seconds.\n2. The filter is washed by hand.",
    "10. Open the lid before cleaning.\n11. Turn the key to the left.",
    "- [ ] Open the lid before cleaning.\n- [x] Turn the key to the left.",
    "> The Heron pump weighs 12 kg.\n> Its motor is made of steel.",
    "> - The Heron pump weighs 12 kg.\n> - Its motor is made of steel.",
    "> > The warranty excludes batteries and seals.",
    "| What | Value |\n|---|---|\n| Heron pump | 12 kg |\n| Service | 5 years |",
    "| What | Value |\n|:---|---:|\n| Heron pump | 12 kg |\n\nIts motor is made of steel.",
    "What | Value\n--- | ---\nHeron pump | 12 kg\n",
    "| Step |\n|---|\n| Open the lid before cleaning. |\n| Turn the key to the left. |",
    "| A | B |\n|---|---|\n| Heron \\| pump | 12 kg |\n",
    "| A | B |\n|---|---|\n| Heron pump | **12 kg** |\n| `code` | 5 years |\n",
    "| A | B |\n|---|---|\n|  | 12 kg |\n| Heron pump |  |\n",
    "**The Heron pump weighs 12 kg.** Its motor is made of steel.",
    "**The Heron pump weighs 12 kg. Its motor is made of steel.**",
    "*The Heron pump weighs 12 kg.*",
    "***The Heron pump weighs 12 kg.*** __Its motor is made of steel.__",
    "The **Heron** pump weighs *12* kg.",
    'The [Heron](https://example.org/a_(b)) pump weighs [12 kg](<https://example.org> "a (title)").',
    "![The Heron pump](pump.png) The Heron pump weighs 12 kg.",
    "See <https://example.org/pump>. The Heron pump weighs 12 kg.",
    "The Heron pump weighs 12&nbsp;kg &amp; runs for 5 years.",
    "The Heron pump \\*weighs\\* 12 kg.",
    "Use `pump[1].start()` first. The Heron pump weighs 12 kg.",
    "The Heron pump weighs `12 kg`.",
    "```python\nprint('The Heron pump weighs 12 kg.')\n```\n\nIts motor is made of steel.",
    "Its motor is made of steel.\n\n~~~\nThe warranty excludes batteries and seals.\n~~~",
    "Its motor is made of steel.\n\n    The warranty excludes batteries and seals.\n",
    "Its motor is made of steel.\n\n```\nThe warranty excludes batteries and seals.",
    "Its motor is made of steel.  \nThe Heron pump weighs 12 kg.",
    "Its motor is made of steel.\\\nThe Heron pump weighs 12 kg.",
    "Its motor is made of steel.<br>The Heron pump weighs 12 kg.",
    "<p>The Heron pump weighs 12 kg.</p>\n",
    "<details>\n<summary>More</summary>\n\nThe Heron pump weighs 12 kg.\n\n</details>",
    "The Heron pump weighs 12 kg.\r\n\r\n1. Open the lid before cleaning.\r\n2. Turn the key to the left.\r\n",
    "\tThe Heron pump weighs 12 kg.\n\nIts motor is made of steel.",
    "-\tOpen the lid before cleaning.\n-\tTurn the key to the left.",
    "ポンプの重さは12キロです。保証は五年です。",
    "**ポンプの重さは12キロです。**保証は五年です。",
    "- ポンプの重さは12キロです。(注)\n- 保証は五年です。",
    "The Heron pump weighs 12 kg.\n\n[manual]: https://example.org/manual.pdf\n",
    "Two things matter:\n\n- **Weight**: the Heron pump weighs 12 kg.\n- **Motor**: its motor is made of steel.",
    "### 1. Weight\n\nThe Heron pump weighs 12 kg.\n\n### 2. Motor\n\nIts motor is made of steel.",
    "The Heron pump\nweighs 12 kg\n",
    'The Heron pump weighs $12$ kg. "Its motor is made of steel."',
    "(The Heron pump weighs 12 kg.) Its motor is made of steel!",
    "The Heron pump weighs 12 kg.\n\n***\n\n- Open the lid before cleaning.\n\n***\n",
    "Wait ten seconds.\n\n\n\nOpen the lid before cleaning.   \n\n",
    "1. **Open the lid before cleaning.**\n   ```\n   2. Turn the key to the left.\n   ```\n2. Wait ten seconds.",
    "~~The Heron pump weighs 12 kg.~~ Its motor is made of steel. 😀",
]
ADDED = re.compile(r" \[\d\]")


def ground(text, **fields):
    step = Ground(**fields)
    pipeline = Pipeline(name="t", model="scripted:x", steps=["retrieve"])
    return step.run(State("q", hits=HITS, answer=Answer(text)), RunContext(pipeline)).answer


def test_there_are_sixty_answers():
    assert len(set(MARKDOWN)) >= 60


@pytest.mark.parametrize("text", MARKDOWN)
def test_only_marks_are_inserted(text):
    answer = ground(text)
    assert answer.citations
    assert answer.text != text
    without_marks = ADDED.sub("", answer.text)
    assert without_marks.encode() == text.encode()


@pytest.mark.parametrize("text", MARKDOWN)
def test_marks_do_not_change_how_the_answer_is_rendered(text):
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    assert ADDED.sub("", parser.render(ground(text).text)) == parser.render(text)


@pytest.mark.parametrize("text", MARKDOWN)
def test_marks_of_the_model_are_kept_where_they_are(text):
    marked = ground(text).text
    assert ground(marked).text == marked


def claims(text):
    return [one.claim for one in find_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A heading\n\nA sentence.", ["A sentence."]),
        ("A heading\n---\n\nA sentence.", ["A sentence."]),
        ("A sentence.\n---\nAnother one.", ["A sentence.", "Another one."]),
        ("2. Two valves are open.\n3. 7", ["Two valves are open."]),
        ("```\ncode.\n```\nA sentence.\n\n    more code.", ["A sentence."]),
        ("| Part | Years |\n|---|---|\n| Pump | 5 |\n| Valve | 6 | 7 |", ["Pump 5", "Valve 6"]),
        ("| Part | Rule |\n|---|---|\n| Pump | It is washed by hand only. |", ["It is washed by hand only."]),
        ("| Part |\n|---|\n| Pump |", ["Pump"]),
        ("The `a[1]` key is **not** *used*.", ["The a 1] key is not used."]),
        ("[1]: https://example.org\n[2]: https://example.net", []),
        ("1954", ["1954"]),
        ("12.", ["12."]),
        ("```\nonly code\n```", []),
        ("# Only a heading", []),
        ("It rains. [1] It snows [2, 3]. [4]", ["It rains.", "It snows ."]),
    ],
)
def test_what_is_checked(text, expected):
    assert claims(text) == expected


def test_a_mark_behind_a_full_stop_belongs_to_the_sentence_before_it():
    text = "It rains. [1] It snows [2, 3]. [4]\n\n[5]"
    first, second = find_sentences(text)
    assert (first.numbers, second.numbers) == ((1,), (2, 3, 4, 5))
    assert text[first.start : first.end] == "It rains. [1]"


def test_unsupported_sentences_are_listed_as_the_model_wrote_them():
    answer = ground("1. **Gold** is `inside` it.\n2. The Heron pump weighs 12 kg.")
    assert answer.unsupported == ("**Gold** is `inside` it.",)
    assert answer.text == "1. **Gold** is `inside` it.\n2. The Heron pump weighs 12 kg. [1]"


def test_an_unsupported_table_cell_is_listed_with_the_label_of_its_row():
    answer = ground("| What | Weight |\n|---|---|\n| Heron pump | 12 kg |\n| Robin pump | 99 kg |")
    assert answer.unsupported == ("Robin pump: 99 kg",)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The Heron pump weighs 12 kg. It is made of gold.", "The Heron pump weighs 12 kg. [1]"),
        ("It is made of gold. The Heron pump weighs 12 kg.", "The Heron pump weighs 12 kg. [1]"),
        ("1. It is made of gold.\n2. The Heron pump weighs 12 kg.\n", "2. The Heron pump weighs 12 kg. [1]"),
        (
            "It is made of gold.\n\n## Weight\n\nThe Heron pump weighs 12 kg.",
            "## Weight\n\nThe Heron pump weighs 12 kg. [1]",
        ),
        ("**It is made of gold.** The Heron pump weighs 12 kg.", "The Heron pump weighs 12 kg. [1]"),
        ("**It is made of gold. The Heron pump weighs 12 kg.**", "**The Heron pump weighs 12 kg.** [1]"),
        ("A **gem. The Heron** pump weighs 12 kg.", "The Heron pump weighs 12 kg. [1]"),
        (
            "| A | B | C |\n|---|---|---|\n| Heron pump | 12 kg | 99 volts |\n| Robin pump | 3 kg | 4 volts |\n",
            "| A | B | C |\n|---|---|---|\n| Heron pump | 12 kg [1] |  |",
        ),
        ("> The Heron pump weighs 12 kg.\n> It is made of gold.\n\nWait ten seconds.", None),
    ],
)
def test_unsupported_sentences_are_left_out_and_the_rest_stays(text, left):
    answer = ground(text, on_unsupported="drop")
    assert "gold" not in answer.text
    assert "[1]" in answer.text
    if left is not None:
        assert answer.text == left


@given(st.text(alphabet="ab .1*_`[]()<>!|\\#-\n\r\t\"'&;~:😀。", max_size=80))
def test_any_text_keeps_its_bytes(text):
    found = find_sentences(text)
    for one in found:
        assert 0 <= one.start < one.end <= len(text)
        assert one.start <= one.mark_at <= len(text)
    marked = insert_marks(text, [(one.mark_at, 7) for one in found])
    assert len(marked) >= len(text) + 4 * len(found)
    rest = iter(marked)
    assert all(character in rest for character in text)  # a subsequence: nothing is lost or moved
    remove_sentences(text, found[:1], found[1:])
