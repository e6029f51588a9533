"""Pairs of words that deny one another: what an edited claim swaps without using a negation.

A small closed list of common English opposites, and the prefixes and endings that make them. It sees `rise` against
`fall` and `able` against `unable`; a pair that is not listed is not seen.
"""

from __future__ import annotations

from collections.abc import Set

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
    rose fell, up down, grow shrink, grew shrank"""
_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis")


def _table() -> dict[str, frozenset[str]]:
    made: dict[str, set[str]] = {}
    for pair in _PAIRS.split(","):
        one, other = pair.split()
        made.setdefault(one, set()).add(other)
        made.setdefault(other, set()).add(one)
    return {word: frozenset(found) for word, found in made.items()}


_TABLE = _table()


def opposed(word: str, others: Set[str]) -> bool:
    """Whether one of `others` is an opposite of `word`; both case-folded, as ``Word.text`` is."""
    if not _TABLE.get(word, frozenset()).isdisjoint(others):
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
