"""Words of a claim that deny a passage without a negation: opposites, and one word in the place of another.

Two closed lists of common English words make opposites: pairs (`rise` against `fall`), with the prefixes and endings
that make more of them (`able` against `unable`), and groups of words of which one excludes the others (colours,
weekdays). A word that is in neither list is seen only where the claim is a sentence of the passage but for this word.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from llmkit.grounding.keys import key_of
from llmkit.grounding.passage import Window
from llmkit.text.language import FUNCTION_WORDS
from llmkit.text.words import Word

_PAIRS = """
    accept reject, accepted rejected, add remove, advantage disadvantage, after before, agree disagree, all
    none, allow forbid, allowed forbidden, always never, ancient modern, approve reject, approved rejected,
    artificial natural, attack defend, back front, bad good, begin end, benefit harm, best worst, better
    worse, big small, black white, bottom top, broad narrow, buy sell, cheap expensive, clean dirty, close
    open, closed open, cold hot, common rare, complex simple, complicated simple, constant variable, construct
    destroy, create destroy, dark bright, decline increase, declined increased, decrease increase, decreased
    increased, decreases increases, decreasing increasing, deep shallow, deny admit, difficult easy,
    discourage encourage, disable enable, dry wet, early late, earlier later, easier harder, easy hard, empty
    full, enter leave, exclude include, excluded included, export import, external internal, fail succeed,
    failed succeeded, failure success, fall rise, false true, far near, fast slow, faster slower, few many,
    fewer more, first last, female male, finish start, former latter, future past, gain loss, global local,
    guilty innocent, happy sad, hard soft, heavy light, high low, higher lower, highest lowest, hinder help,
    ignore consider, improve worsen, improved worsened, input output, inside outside, junior senior, large
    small, larger smaller, largest smallest, least most, left right, less more, long short, longer shorter,
    lose win, loss profit, lost won, lower raise, major minor, majority minority, maximize minimize, maximum
    minimum, negative positive, new old, newer older, night day, north south, odd even, often rarely, old
    young, oppose support, opposed supported, optional required, optimistic pessimistic, parent child,
    permanent temporary, poor rich, presence absence, prevent cause, private public, prohibit permit, pull
    push, quiet loud, rapid slow, reduce increase, reduced increased, reduces increases, refuse accept, same
    different, similar different, strength weakness, strong weak, stronger weaker, supervised unsupervised,
    thick thin, tight loose, together apart, upper lower, vague clear, victory defeat, war peace, west east,
    with without, wide narrow, worst best, above below, over under, underestimate overestimate, rise drop,
    rose fell, up down, grow shrink, grew shrank, cover exclude, covers excludes, covered excluded, include
    exclude, includes excludes, open shut, opens closes, opened closed, begin finish, ends begins, win lose,
    wins loses, gains loses, gained lost, accepts rejects, allows forbids, allows prohibits, allowed prohibited,
    permits prohibits, permitted prohibited, permitted forbidden, requires forbids, raises lowers, raised
    lowered, rises falls, rises drops, rose dropped, grows shrinks, improves worsens, adds removes, added
    removed, enables disables, enabled disabled, starts stops, started stopped, passed failed, buys sells,
    bought sold, before after, alive dead, entrance exit, arrive depart, arrives departs, arrived departed,
    married divorced, inner outer, horizontal vertical, northern southern, eastern western, guest host,
    mandatory optional, mandatory voluntary"""
_GROUPS = """
    black blue brown green grey orange pink purple red white yellow,
    monday tuesday wednesday thursday friday saturday sunday,
    january february april june july august september october november december,
    north south east west,
    spring summer autumn winter,
    daily weekly monthly quarterly yearly,
    minute hour day week month year decade century,
    seconds minutes hours days weeks months years decades centuries"""
_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis")
_EVERY_FUNCTION_WORD = frozenset[str]().union(*FUNCTION_WORDS.values())


def _table() -> dict[str, frozenset[str]]:
    opposites: dict[str, set[str]] = {}
    for entry in [*_PAIRS.split(","), *_GROUPS.split(",")]:
        members = set(entry.split())
        for word in members:
            opposites.setdefault(word, set()).update(members - {word})
    return {word: frozenset(others) for word, others in opposites.items()}


_OPPOSITES = _table()


def is_opposed(word: str, others: Set[str]) -> bool:
    """Whether one of `others` is an opposite of `word`; both case-folded, as ``Word.text`` is."""
    if not _OPPOSITES.get(word, frozenset()).isdisjoint(others):
        return True
    if any(prefix + word in others for prefix in _PREFIXES if len(word) >= 4):
        return True
    if any(
        word.startswith(prefix) and word[len(prefix) :] in others
        for prefix in _PREFIXES
        if len(word) - len(prefix) >= 4
    ):
        return True
    return (word.endswith("less") and word[:-4] + "ful" in others) or (
        word.endswith("ful") and word[:-3] + "less" in others
    )


def find_opposite(claim: Sequence[Word], window: Window) -> str:
    """The first word of the claim that the window lacks, while it has an opposite that the claim lacks; or empty."""
    texts = {word.text for word in claim}
    only_there = window.texts - texts
    return next(
        (word.text for word in claim if word.text not in window.texts and is_opposed(word.text, only_there)), ""
    )


def find_swap(claim: Sequence[Word], window: Window) -> tuple[str, str] | None:
    """The one content word of the claim that the window lacks, and the one that stands in its place there.

    None where more than one word differs, where the neighbours differ, and for two forms of one word.
    """
    theirs = {key_of(word) for word in claim}
    missing = [i for i, word in enumerate(claim) if word.content and key_of(word) not in window.keys]
    extra = [i for i, word in enumerate(window.words) if word.content and key_of(word) not in theirs]
    if len(missing) != 1 or len(extra) != 1:
        return None
    (i,), (j,) = missing, extra
    ours, other = claim[i], window.words[j]
    same_place = _neighbours(claim, i) == _neighbours(window.words, j)
    if same_place and _is_term(ours) and _is_term(other) and not _akin(ours.text, other.text):
        return ours.text, other.text
    return None


def _neighbours(some: Sequence[Word], at: int) -> tuple[str, str]:
    return (key_of(some[at - 1]) if at else "", key_of(some[at + 1]) if at + 1 < len(some) else "")


def _is_term(word: Word) -> bool:
    """Whether it is a function word of no known language; one character is an ending or a CJK character."""
    return len(word.text) > 1 and word.text not in _EVERY_FUNCTION_WORD


def _akin(one: str, other: str) -> bool:
    """Whether two words look like forms of one: they share the beginning, all but three letters of the shorter."""
    shorter = min(len(one), len(other))
    shared = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    return shared >= max(3, shorter - 3)
