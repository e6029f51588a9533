"""Words that are read through their translations: nothing else of the encoder changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encoders import bilingual_dictionary
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.errors import DataError, KnowledgeError, ModelError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from tests import tiny

pytest.importorskip("torch", reason="needs the extra train")

DICTIONARY = """# German
pumpe\tpump
Wasser\twater\t2
kühl\tcold\t3
kühl\tblue\t1
kuhl\twinter
druckmesser\tpressure gauge
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("words") / "de.tsv"
    made.write_text(DICTIONARY, encoding="utf-8")
    return made


def encoder(model: Path, *files: Path) -> LocalEncoder:
    return LocalEncoder(model=str(model), max_tokens=40, words=tuple(map(str, files)), precision="f32")


def one(encoder: LocalEncoder, text: str) -> np.ndarray:
    return encoder.encode_passages([text])[0]


@pytest.fixture(scope="module")
def both(model: Path, file: Path) -> tuple[LocalEncoder, LocalEncoder]:
    """With the dictionary, and without."""
    return encoder(model, file), encoder(model)


def test_a_word_is_read_as_its_translation(both: tuple[LocalEncoder, LocalEncoder]) -> None:
    taught, plain = both
    np.testing.assert_allclose(one(taught, "die Pumpe, Wasser!"), one(plain, "die pump, water!"), atol=1e-6)
    assert taught.unknown_share("pumpe wasser") == 0
    assert plain.unknown_share("pumpe wasser") == 1


@settings(max_examples=50, deadline=None)
@given(
    text=st.lists(st.sampled_from([*tiny.WORDS, "pumpen", "xwasser", "wasserx", "unheard"]), min_size=1, max_size=20)
)
def test_a_text_without_the_words_keeps_its_vector_to_the_bit(
    both: tuple[LocalEncoder, LocalEncoder], text: list[str]
) -> None:
    np.testing.assert_array_equal(*(one(encoder, " ".join(text)) for encoder in both))


def test_the_weights_of_translations_count_and_length_is_kept(model: Path, file: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    found = bilingual_dictionary.read_dictionaries([str(file)])
    table = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 8)).astype(np.float32)
    made = found.extend_embeddings(table, tokenizer)
    np.testing.assert_array_equal(made[: len(table)], table)
    taught = Tokenizer.from_file(str(model / "tokenizer.json"))
    found.add_tokens(taught)
    cold, blue = (table[tokenizer.token_to_id(word)] for word in ("cold", "blue"))
    mean = 0.75 * cold + 0.25 * blue
    length = 0.75 * np.linalg.norm(cold) + 0.25 * np.linalg.norm(blue)
    np.testing.assert_allclose(
        made[taught.token_to_id("kühl")], mean / np.linalg.norm(mean) * length, rtol=1e-5, atol=1e-6
    )
    gauge = np.mean([table[tokenizer.token_to_id(word)] for word in ("pressure", "gauge")], axis=0)
    row = made[taught.token_to_id("druckmesser")]
    assert row @ gauge / np.linalg.norm(row) / np.linalg.norm(gauge) == pytest.approx(1, abs=1e-5)


def test_a_later_dictionary_wins_and_a_known_word_is_given_the_meaning(model: Path, file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("PUMPE\tboiler\nred\tgreen\nKestrel Two\toil filter\n")
    taught, plain = encoder(model, file, own), encoder(model)
    np.testing.assert_allclose(one(taught, "pumpe"), one(plain, "boiler"), atol=1e-6)
    np.testing.assert_allclose(one(taught, "the red seal"), one(plain, "the green seal"), atol=1e-6)
    assert len(taught.token_starts("the kestrel two")) == 2


def test_words_that_are_spelt_alike_are_one(model: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.tsv"
    both.write_text("Pumpe\tpump\npumpe\tvalve\n")
    single = tmp_path / "single.tsv"
    single.write_text("pumpe\tpump\npumpe\tvalve\n")
    np.testing.assert_array_equal(one(encoder(model, both), "PUMPE"), one(encoder(model, single), "PUMPE"))


def test_the_dual_encoder_reads_them_too(model: Path, file: Path) -> None:
    dual = DualEncoder(model=str(model), words=(str(file),), longest=40, precision="f32")
    np.testing.assert_allclose(dual.encode_queries(["Pumpe"])[0], one(encoder(model, file), "Pumpe"), atol=1e-6)


def test_a_dictionary_belongs_to_the_identity(model: Path, file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tsv"
    copy.write_text(DICTIONARY, encoding="utf-8")
    assert encoder(model, file).identity == encoder(model, copy).identity != encoder(model).identity
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=encoder(model, copy))
    kb.close()
    copy.write_text(DICTIONARY + "ventil\tvalve\n", encoding="utf-8")
    with pytest.raises(KnowledgeError, match="unless a dictionary has changed"):
        KnowledgeBase.open(tmp_path / "kb").encoder.identity  # noqa: B018


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pumpe\n", "line 1: WORD<tab>TRANSLATION"),
        ("# only this\n", "has no word"),
        ("\tpump\n", "line 1"),
        ("a\tpump\npumpe\tpump\tmuch\n", "line 2: a weight"),
        ("pumpe\tpump\t-1\n", "a weight is a number above 0"),
        ("pumpe\tpump\tnan\n", "a weight is a number above 0"),
        ("pumpe\tpump\t1\t2\n", "line 1"),
        ('"pumpe"\t"pump"\n', "line 1: save it without quotation marks"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.tsv"
    file.write_text(text)
    with pytest.raises(DataError, match=told):
        bilingual_dictionary.read_dictionaries([str(file)])


def test_what_cannot_be_used_is_told(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dictionary 'klingon'"):
        bilingual_dictionary.read_dictionaries(["klingon"])
    with pytest.raises(DataError, match="there is no dictionary at gone"):
        bilingual_dictionary.read_dictionaries(["gone.tsv"])
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("kühl\tcold\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        bilingual_dictionary.read_dictionaries([str(latin)])
    unread = tmp_path / "unread.tsv"
    unread.write_text("pumpe\tbomba\n")
    with pytest.raises(DataError, match="does not know the translation 'bomba'"):
        one(encoder(model, unread), "pumpe")


def test_a_tokenizer_of_another_kind_is_refused(file: Path) -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(ModelError, match="this one is BPE"):
        bilingual_dictionary.read_dictionaries([str(file)]).add_tokens(Tokenizer(models.BPE()))


@pytest.mark.parametrize("name", bilingual_dictionary.bundled_dictionaries())
def test_a_shipped_dictionary_leaves_english_alone(name: str) -> None:
    (senses,) = bilingual_dictionary.read_dictionaries([name]).dictionaries
    assert len(senses) > 30_000
    assert not set("the water and new house of time more people the end".split()) & set(senses)
    assert all(1 <= len(found) <= 4 for found in senses.values())


def test_great_weights_give_numbers(model: Path, tmp_path: Path) -> None:
    great = tmp_path / "great.tsv"
    great.write_text("pumpe\tpump\t1e308\npumpe\tvalve\t1e308\n")
    even = tmp_path / "even.tsv"
    even.write_text("pumpe\tpump\npumpe\tvalve\n")
    np.testing.assert_array_equal(one(encoder(model, great), "pumpe"), one(encoder(model, even), "pumpe"))


def test_a_named_language_without_its_words_is_told_and_status_shows_dictionaries(
    model: Path, file: Path, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from llmkit.cli import cli

    (tmp_path / "a.txt").write_text("Die Pumpe ist kalt.\n", encoding="utf-8")
    spec = f"{{type: local, model: {model}, max_tokens: 40, precision: f32, words: {file}}}"
    command = ["ingest", str(tmp_path / "a.txt"), "--into", str(tmp_path / "kb"), "--language", "de"]
    for more in (["--encoder", spec], []):  # made, and opened again
        done = CliRunner().invoke(cli, [*command, *more])
        assert done.exit_code == 0, done.output
        assert f"the encoder reads no de: in a new knowledge base, `words: [de, {file}]`" in done.output
    done = CliRunner().invoke(cli, ["status", "--kb", str(tmp_path / "kb")])
    assert f"with words of {file}" in done.output


def test_german_texts_are_told_that_the_encoder_can_read_them(model: Path, tmp_path: Path) -> None:
    from llmkit.types import Document

    text = "Die Pumpe ist kalt und das Wasser fließt nicht, weil der Filter mit dem Ventil nicht verbunden ist. " * 4
    with KnowledgeBase.create(tmp_path / "kb", encoder=encoder(model)) as kb:
        kb.add([Document(id="one", text=text)])
        assert any("`words: [de]` in --encoder lets it read the words" in note for note in kb.take_notes())


@pytest.mark.slow
def test_german_and_spanish_questions_find_english_and_german_texts(weights_home: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from llmkit.cli import cli

    english = [
        "The pump must be switched off before the filter is changed.",
        "Employees are entitled to thirty days of holiday a year.",
        "The battle ended with the defeat of the northern army.",
        "Cells divide more slowly at low temperatures.",
    ]
    asked = [
        ("Was ist vor dem Wechsel des Filters zu tun?", 0),
        ("Wie viel Urlaub bekommen Mitarbeiter?", 1),
        ("¿Quién perdió la batalla?", 2),
        ("¿Cómo influye la temperatura en las células?", 3),
    ]
    plain, taught = LocalEncoder(), LocalEncoder(words=("de", "es"))
    passages = taught.encode_passages(english)
    np.testing.assert_array_equal(passages, plain.encode_passages(english))
    found = (taught.encode_queries([question for question, _ in asked]) @ passages.T).argmax(1)
    assert found.tolist() == [right for _, right in asked]

    (tmp_path / "brief.txt").write_text("Der Vertrag endet am 3. Mai. Die Kündigung muss schriftlich erfolgen.\n" * 3)
    into = str(tmp_path / "kb")
    result = CliRunner().invoke(cli, ["ingest", str(tmp_path / "brief.txt"), "--into", into, "--language", "de"])
    assert result.exit_code == 0, result.output
    with KnowledgeBase.open(into) as kb:
        assert kb.encoder.words == ("de",)
        assert kb.language == "de"


def test_a_dictionary_is_found_from_another_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.tsv").write_text("pumpe\tpump\n")
    monkeypatch.chdir(tmp_path)
    made = LocalEncoder(model=str(model), max_tokens=40, words=("./ours.tsv", "de"))
    assert made.words == (str(tmp_path / "ours.tsv"), "de")
    assert LocalEncoder.model_validate({"words": "de"}).words == ("de",)
    monkeypatch.chdir("/")
    assert LocalEncoder.model_validate({k: v for k, v in made.config().items() if k != "type"}) == made
