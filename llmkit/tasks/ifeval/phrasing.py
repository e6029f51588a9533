"""A verifiable instruction that was not followed, said to a model in a sentence it can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REQUESTS = {
    "change_case:capital_word_frequency": "Write {capital_relation} {capital_frequency} words in ALL CAPITALS.",
    "change_case:english_capital": "Write the whole reply in English and in CAPITAL LETTERS only.",
    "change_case:english_lowercase": "Write the whole reply in English and in lowercase letters only, no capitals.",
    "combination:repeat_prompt": "First repeat this word for word, then reply: {prompt_to_repeat}",
    "combination:two_responses": "Give exactly two different replies with six asterisks ****** between them.",
    "detectable_content:number_placeholders": "Use at least {num_placeholders} placeholders in square brackets, as in "
    "[name].",
    "detectable_content:postscript": "End with a postscript that begins with {postscript_marker}",
    "detectable_format:constrained_response": "Reply with one of: My answer is yes. My answer is no. My answer is "
    "maybe.",
    "detectable_format:json_format": "Reply with valid JSON and nothing else.",
    "detectable_format:multiple_sections": "Use {num_sections} sections, each beginning with a line '{section_spliter} "
    "1', '{section_spliter} 2' and so on.",
    "detectable_format:number_bullet_lists": "Use exactly {num_bullets} bullet points, as lines beginning with '* '.",
    "detectable_format:number_highlighted_sections": "Highlight at least {num_highlights} parts with asterisks, as in "
    "*highlighted part*.",
    "detectable_format:title": "Give the reply a title in double angular brackets, as in <<title>>.",
    "keywords:existence": "Use these words: {keywords}.",
    "keywords:forbidden_words": "Do not use these words: {forbidden_words}.",
    "keywords:frequency": "Use the word '{keyword}' {relation} {frequency} times.",
    "keywords:letter_frequency": "Use the letter '{letter}' {let_relation} {let_frequency} times.",
    "language:response_language": "Write the whole reply in the language with the code '{language}'.",
    "length_constraints:nth_paragraph_first_word": "Write {num_paragraphs} paragraphs with a blank line between them; "
    "paragraph {nth_paragraph} must begin with the word '{first_word}'.",
    "length_constraints:number_paragraphs": "Write exactly {num_paragraphs} paragraphs with a line *** between them.",
    "length_constraints:number_sentences": "Write {relation} {num_sentences} sentences.",
    "length_constraints:number_words": "Write {relation} {num_words} words.",
    "punctuation:no_comma": "Do not use any commas.",
    "startend:end_checker": "End the reply with exactly: {end_phrase}",
    "startend:quotation": 'Put the whole reply in double quotation marks "…".',
}


def request(kind: str, arguments: Mapping[str, Any]) -> str:
    """What is asked for, as a sentence; arguments are put in as they are, never read as a template."""
    plain = {name: ", ".join(map(str, item)) if isinstance(item, list) else item for name, item in arguments.items()}
    return _REQUESTS[kind].format(**plain)
