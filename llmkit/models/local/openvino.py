"""GGUF models on OpenVINO GenAI: slower to load, faster through long prompts where the CPU has AMX or AVX-512."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from llmkit import cpu
from llmkit.errors import ModelError, TooLong
from llmkit.extras import optional
from llmkit.models.local.adapter import Adapter
from llmkit.models.local.engine import Done, Request, Tell, Turn
from llmkit.no_telemetry import silence_openvino


class OpenVINOEngine:
    """One model with prefix caching."""

    knows_schemas: ClassVar[bool] = True
    slots = 1

    def __init__(self, path: Path, *, context: int, threads: int) -> None:
        silence_openvino()
        with optional():
            import openvino_genai as genai

        self._genai, self._context = genai, context
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.cache_size = 1  # GiB
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        if not cpu.has_bfloat16():  # OpenVINO may choose bf16 all the same, and then fails or computes wrong results
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            self._pipeline = genai.LLMPipeline(str(path), "CPU", scheduler_config=scheduler, **settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {path}: {str(error).splitlines()[0]}") from error
        self._tokenizer = self._pipeline.get_tokenizer()

    def generate(self, request: Request, tell: Tell) -> Done:
        """Generate; see :class:`llmkit.models.local.engine.Engine`."""
        if request.grammar is not None:
            raise ModelError("OpenVINO knows no GBNF grammars: use runtime: llamacpp, or a JSON schema")
        prompt = self._prompt(request.turns)
        tokens, cut = self._tokens(prompt)
        if cut:
            raise TooLong(
                f"the prompt has {tokens} tokens, OpenVINO's tokenizer of this model reads {cut} and would drop the "
                "rest: shorten it, or use runtime: llamacpp"
            )
        if tokens + request.max_tokens > self._context:
            raise TooLong(
                f"the prompt has {tokens} tokens, the model's context is {self._context} and {request.max_tokens} are "
                "kept for the answer: shorten it, or give a larger `context`"
            )
        status = self._genai.StreamingStatus
        cancelled = False

        def hear(text: str) -> Any:
            nonlocal cancelled
            cancelled = tell(text)
            return status.CANCEL if cancelled else status.RUNNING

        result = self._pipeline.generate([prompt], self._settings(request), hear)
        length = result.finish_reasons[0] == self._genai.GenerationFinishReason.LENGTH
        reason: Any = "cancelled" if cancelled else "length" if length else "stop"
        return Done(reason, tokens, int(result.perf_metrics.get_num_generated_tokens()))

    def share(self, turns: Sequence[Turn]) -> None:
        """There is one slot."""

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt; of one longer than the tokenizer reads, counted in parts, a few too many at most."""
        return self._tokens(self._prompt(turns))[0]

    def first_token(self, turns: Sequence[Turn], adapter: str | None = None) -> dict[int, float]:
        """Refused: OpenVINO GenAI gives log probabilities of chosen tokens only."""
        raise ModelError("OpenVINO tells no probabilities of tokens: use runtime: llamacpp")

    def with_adapters(self, adapters: Mapping[str, Adapter]) -> None:
        """Refused: on a GGUF base OpenVINO drops the tensors of an adapter and answers as the base, in silence."""
        for adapter in adapters.values():
            raise ModelError(
                f"OpenVINO ignores adapters on GGUF models: use runtime: llamacpp, or merge {adapter.folder} first: "
                f"llmkit train export {adapter.folder} --to gguf"
            )

    def _settings(self, request: Request) -> Any:
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens = request.max_tokens
        settings.apply_chat_template = False
        if request.temperature > 0:
            settings.do_sample = True
            settings.temperature = request.temperature
            if request.seed is not None:
                settings.rng_seed = request.seed
        if request.stop:
            settings.stop_strings = set(request.stop)
        if request.schema is not None:
            import json

            structure = self._genai.StructuredOutputConfig()
            structure.json_schema = json.dumps(request.schema)
            settings.structured_output_config = structure
        return settings

    def _prompt(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return str(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True))

    def _tokens(self, text: str) -> tuple[int, int]:
        """Tokens of the text, and how many the tokenizer stops at, where it did (its limit cannot be asked or raised).

        Twice the text has more tokens than the text, unless both were cut.
        """
        tokens = self._encoded(text)
        if self._encoded(text + text) > tokens or len(text) < 2:
            return tokens, 0
        middle = text.rfind(" ", 1, len(text) // 2) if " " in text[1 : len(text) // 2] else len(text) // 2
        return self._tokens(text[:middle])[0] + self._tokens(text[middle:])[0], tokens

    def _encoded(self, text: str) -> int:
        return int(self._tokenizer.encode(text).input_ids.shape[1])
