"""What any verifier must do: inherit it and give the fixtures ``verifier``, ``state`` with its inputs, ``draft``."""

from __future__ import annotations

from llmkit.protocols import Verifier
from llmkit.types import State, Verdict

_STRANGE = (
    "",
    " \n",
    "\x00",
    "\ud800",
    "\u202e [99] 😀",
    "(" * 5_000,
    "1 + " * 5_000,
    "[" * 5_000,
    "```" * 2_000,
    "=" * 5_000,
)


class VerifierSuite:
    """Conformance to :class:`llmkit.protocols.Verifier`."""

    def test_it_is_a_verifier(self, verifier: Verifier) -> None:
        """Protocol."""
        assert isinstance(verifier, Verifier)

    def test_a_good_draft_has_the_highest_score_and_no_message(
        self, verifier: Verifier, state: State, draft: str
    ) -> None:
        """The stop signal can be reached."""
        assert verifier.verify(draft, state) == Verdict(1.0)

    def test_any_draft_has_a_verdict_and_a_reason(self, verifier: Verifier, state: State) -> None:
        """Nothing is raised; what is not perfect says why, in words of a bounded length."""
        for draft in _STRANGE:
            found = verifier.verify(draft, state)
            assert found.score == 1 or found.messages
            assert all(message.strip() for message in found.messages)
            assert len("".join(found.messages)) < 20_000

    def test_it_repeats_itself(self, verifier: Verifier, state: State, draft: str) -> None:
        """The same draft has the same verdict."""
        for said in (draft, *_STRANGE[:4]):
            assert verifier.verify(said, state) == verifier.verify(said, state)
