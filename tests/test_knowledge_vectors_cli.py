"""The vector index on the command line."""

from __future__ import annotations

import json

from click.testing import CliRunner

from llmkit.cli import cli


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_an_index_is_made_shown_and_kept_to(tmp_path):
    words = "apple pear plum cherry quince melon garden river bridge stone".split()
    for n in range(60):
        text = " ".join(words[(n * step) % 10] for step in range(1, 8))
        (tmp_path / f"{n}.txt").write_text(f"Garden {n} has {text} in the week of number {n * 7}.")
    kb = tmp_path / "kb"
    run("ingest", *sorted(tmp_path.glob("*.txt")), "--into", kb, "--encoder", "hashing", "--recall", 0.3)
    assert "searched exactly" in run("status", "--kb", kb)
    table = run("kb", "index", "--kb", kb)
    assert "ivf/rabitq" in table
    assert "with 95 % confidence" in table
    told = json.loads(run("status", "--kb", kb, "--json"))
    assert told["index"]["lower"] >= told["index"]["target"] == 0.3
    made = json.loads(run("kb", "index", "--kb", kb, "--recall", 0.999, "--codes", "sq8", "--json"))
    assert [(one["structure"], one["codes"], one["certified"]) for one in made["tried"]] == [
        ("ivf", "sq8", False), ("flat", "float16", True)
    ]  # fmt: skip
    assert "searched exactly: a scan of half-precision codes, 512 bytes each" in run("status", "--kb", kb)
    refused = CliRunner().invoke(cli, ["ingest", str(tmp_path / "1.txt"), "--into", str(kb), "--recall", "0.5"])
    assert "was made with recall 0.999, not 0.5" in str(refused.exception)
    assert run("kb", "verify", "--kb", kb) == f"{kb} is undamaged\n"
