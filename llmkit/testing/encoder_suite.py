"""What any encoder must do. Inherit it and give the fixture ``encoder``."""

from __future__ import annotations

import numpy as np
import pytest

from llmkit import config
from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.protocols import Encoder

TEXTS = [
    "The pump is serviced once a year.",
    "",
    "Größe, naïve, Ω and 漢字かな交じり文 and 😀.",
    "A longer text about pumps, valves and filters that has a few more words than the others do.",
    "x",
]


class EncoderSuite:
    """Conformance to :class:`llmkit.protocols.Encoder`."""

    tolerance = 1e-5
    """How far a vector may depend on the texts encoded beside it (bf16 needs more)."""

    def test_it_is_an_encoder_and_a_part(self, encoder: Encoder) -> None:
        """Protocol and configuration."""
        assert isinstance(encoder, Encoder)
        assert isinstance(encoder, Part)
        assert config.build_part("encoder", encoder.config()) == encoder

    def test_rows_are_unit_vectors_in_order(self, encoder: Encoder) -> None:
        """Shape, type and length."""
        for encode in (encoder.encode_queries, encoder.encode_passages):
            vectors = encode(TEXTS)
            assert vectors.shape == (len(TEXTS), encoder.dim)
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)

    def test_nothing_in_nothing_out(self, encoder: Encoder) -> None:
        """No texts give no rows."""
        assert encoder.encode_passages([]).shape == (0, encoder.dim)

    def test_a_vector_does_not_depend_on_its_company(self, encoder: Encoder) -> None:
        """Alone, together and reversed."""
        together = encoder.encode_passages(TEXTS)
        backwards = encoder.encode_passages(TEXTS[::-1])[::-1]
        alone = np.concatenate([encoder.encode_passages([text]) for text in TEXTS])
        np.testing.assert_allclose(together, backwards, atol=self.tolerance)
        np.testing.assert_allclose(together, alone, atol=self.tolerance)

    def test_tokens_begin_inside_the_text_in_order(self, encoder: Encoder) -> None:
        """Offsets for the splitter."""
        for text in TEXTS:
            starts = encoder.token_starts(text)
            assert starts.ndim == 1
            assert (np.diff(starts) >= 0).all()
            assert not len(starts) or (starts[0] >= 0 and starts[-1] < len(text))
        assert len(encoder.token_starts(" ".join(["word"] * 30))) >= 30

    def test_a_text_that_is_too_long_is_refused_not_cut(self, encoder: Encoder) -> None:
        """The refusal names the text and the counts."""
        long = "pump " * (encoder.max_tokens + 1)
        with pytest.raises(DataError, match="text 1 has"):
            encoder.encode_passages(["short", long])

    def test_the_longest_text_is_encoded(self, encoder: Encoder) -> None:
        """Exactly as many tokens as it reads."""
        room = encoder.max_tokens - encoder.special_tokens
        assert encoder.encode_passages(["pump " * room]).shape == (1, encoder.dim)

    def test_the_identity_is_one_line(self, encoder: Encoder) -> None:
        """Written into every knowledge base."""
        assert encoder.identity == encoder.identity.strip()
        assert encoder.identity.count("/") >= 3
        assert "\n" not in encoder.identity
