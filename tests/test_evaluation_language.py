"""Which language a text is in."""

from __future__ import annotations

import gzip
import json

import pytest

from llmkit.text.language import LANGUAGES, language, script

LINES = {
    "ar": "هذا الكتاب على الطاولة التي في الغرفة", "bg": "Това е книгата, която е на масата в стаята",
    "bn": "বইটি ঘরের টেবিলের উপর আছে", "de": "Das Buch liegt auf dem Tisch in der Küche",
    "el": "Το βιβλίο είναι στο τραπέζι", "en": "The book is on the table in the kitchen",
    "es": "El libro está en la mesa de la cocina", "fa": "این کتاب روی میز است و من آن را می‌خوانم",
    "fi": "Kirja on keittiön pöydällä ja minä luen sitä", "fr": "Le livre est sur la table dans la cuisine",
    "gu": "પુસ્તક ટેબલ પર છે", "he": "הספר נמצא על השולחן", "hi": "किताब रसोई में मेज पर है और मैं उसे पढ़ता हूँ",
    "id": "Buku itu ada di atas meja di dapur", "it": "Il libro è sul tavolo della cucina",
    "ja": "本は台所のテーブルの上にあります", "kn": "ಪುಸ್ತಕ ಮೇಜಿನ ಮೇಲಿದೆ", "ko": "책은 부엌 식탁 위에 있습니다",
    "ml": "പുസ്തകം മേശപ്പുറത്താണ്", "mr": "पुस्तक टेबलावर आहे आणि मी ते वाचत आहे",
    "ne": "किताब टेबुलमा छ र म यो पढ्दै छु", "nl": "Het boek ligt op de tafel in de keuken",
    "pa": "ਕਿਤਾਬ ਮੇਜ਼ ਉੱਤੇ ਹੈ", "pl": "Książka jest na stole w kuchni", "pt": "O livro está na mesa da cozinha e não é meu",
    "ru": "Книга лежит на столе в кухне, и я её читаю", "sw": "Kitabu kiko juu ya meza katika jikoni",
    "ta": "புத்தகம் மேசையின் மேல் உள்ளது", "te": "పుస్తకం బల్ల మీద ఉంది", "th": "หนังสืออยู่บนโต๊ะ",
    "tr": "Kitap mutfakta masanın üzerinde ve ben onu okuyorum", "uk": "Книга лежить на столі у кухні, і я її читаю",
    "ur": "کتاب میز پر ہے اور میں اسے پڑھ رہا ہوں", "vi": "Quyển sách ở trên bàn trong nhà bếp", "zh": "书在厨房的桌子上",
}  # fmt: skip


def test_each_language_is_told_from_a_line_of_it():
    assert sorted(LINES) == list(LANGUAGES)
    assert {code: language(text) for code, text in LINES.items()} == {code: code for code in LINES}
    assert {code: language(text.upper()) for code, text in LINES.items()} == {code: code for code in LINES}


@pytest.mark.parametrize("text", ["", "42 + 1", "xqzt", "ᚠᚢᚦᚨᚱᚲ", "a 書 б"])
def test_what_speaks_for_no_language_is_none(text):
    assert language(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a 書 б", None),
        ("", None),
        ("hello мир!", "Latin"),
        ("日本のロボット", "Han"),
        ("नमस्ते", "Devanagari"),
        ("한국어 ok", "ko"),
    ],
)
def test_the_script_is_that_of_most_letters(text, found):
    assert script(text) == found


def test_a_foreign_name_does_not_change_the_language():
    assert language("Лев Толстой написал «War and Peace» в России, и это его роман") == "ru"
    assert language("これはPythonです。とても便利です。") == "ja"


@pytest.mark.parametrize("code", ["en", "de", "es", "zh"])
def test_paragraphs_of_xquad(data, code):
    with gzip.open(data / "qa" / "xquad" / code / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        told = [language(json.loads(line)["text"]) == code for line in lines]
    assert sum(told) >= 0.99 * len(told)


@pytest.mark.parametrize(("text", "code"), [("Zażółć gęślą jaźń", "pl"), ("Маємо їжу", "uk"), ("Große Straße", "de")])
def test_spelling_speaks_where_no_function_word_does(text, code):
    assert language(text) == code
