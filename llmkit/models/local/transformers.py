"""Chat models on transformers: a folder of safetensors, or a name on the Hugging Face hub, with LoRA adapters by peft.

For machines with a GPU and for models that were trained here; on a CPU the same model as GGUF answers faster. Nothing
that came with a model is run: no remote code, no pickled weights; its chat template runs in transformers' sandbox.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import ModelError, TooLong
from llmkit.extras import need
from llmkit.models.local.adapter import PROBE, PROBE_LEAST, WEIGHTS, Adapter
from llmkit.models.local.check_weights import require_all_weights
from llmkit.models.local.engine import Done, Request, Tell, Turn

if TYPE_CHECKING:
    from llmkit.models.local.chat_model import LocalChat
    from llmkit.models.spec import ChatModelSpec

_CONTEXT = 8192


class TransformersEngine:
    """One model and its tokenizer; its adapters share the base's memory and are switched between calls."""

    knows_schemas: ClassVar[bool] = False
    slots = 1

    def __init__(self, model: Any, tokenizer: Any, *, context: int) -> None:
        self._model, self._tokenizer, self._context = model.eval(), tokenizer, context
        self._adapted = False
        self._named: Mapping[str, Adapter] = {}

    def with_adapters(self, adapters: Mapping[str, Adapter]) -> None:
        """Load what is new or changed; see :class:`llmkit.models.local.engine.Engine`."""
        peft = need("peft", feature="adapters on transformers", extra="train")
        bare = self._log_probabilities(PROBE, None) if adapters else None
        base = self._model.unload() if self._adapted else self._model
        self._model, self._adapted = base, False
        model: Any = None
        try:
            for name, adapter in adapters.items():
                if model is None:
                    model = peft.PeftModel.from_pretrained(base, str(adapter.folder), adapter_name=name)
                else:
                    model.load_adapter(str(adapter.folder), adapter_name=name)
                check_keys(model, name, adapter)
                self._check_template(adapter)
            if model is None:
                return
            self._model, self._adapted = model.eval(), True
            for name, adapter in adapters.items():
                if float((self._log_probabilities(PROBE, name) - bare).abs().max()) < PROBE_LEAST:
                    raise ModelError(
                        f"the adapter {adapter.folder} changes nothing: it answers the probe as its base does"
                    )
            self._named = adapters
        except Exception as error:  # safetensors and peft have errors of their own
            self._model, self._adapted = model.unload() if model is not None else base, False
            before, self._named = self._named, {}
            if before:
                self.with_adapters(before)
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"an adapter cannot be loaded: {error}") from error

    def _check_template(self, adapter: Adapter) -> None:
        """An adapter is used to the chat template it was trained with."""
        trained = adapter.record.get("template_digest")
        if trained != hashlib.sha256(str(self._tokenizer.chat_template).encode()).hexdigest():
            raise ModelError(
                f"{adapter.folder} was trained with another chat template than this model has: it would be "
                "asked in a form it does not know; use the base as it was trained on"
            )

    def first_token(self, turns: Sequence[Turn], adapter: str | None = None) -> dict[int, float]:
        """Log probabilities of the hundred most likely first tokens of an answer."""
        top = self._log_probabilities(turns, adapter).topk(100)
        return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def _log_probabilities(self, turns: Sequence[Turn], adapter: str | None) -> Any:
        import torch

        with torch.inference_mode(), self._using(adapter):
            ids = torch.tensor([self._ids(turns)], device=self._model.device)
            return torch.log_softmax(self._model(input_ids=ids).logits[0, -1].float(), -1)

    def _using(self, adapter: str | None) -> Any:
        """The model with one adapter, or with none, for the length of a call."""
        if adapter is None:
            return self._model.disable_adapter() if self._adapted else nullcontext()
        if not self._adapted or adapter not in self._model.peft_config:
            raise ModelError(f"no adapter {adapter!r} is loaded")
        self._model.set_adapter(adapter)
        return nullcontext()

    def generate(self, request: Request, tell: Tell) -> Done:
        """Generate; see :class:`llmkit.models.local.engine.Engine`."""
        import torch

        if request.schema is not None or request.grammar is not None:
            raise ModelError("models on transformers know no schemas and no grammars: use the model as GGUF (local:)")
        ids = self._ids(request.turns)
        if len(ids) + request.max_tokens > self._context:
            raise TooLong(
                f"the prompt has {len(ids)} tokens, the model's context is {self._context} and {request.max_tokens} "
                "are kept for the answer: shorten it, or give a larger `context` if the model was trained for one"
            )
        listener = _Listener(self._tokenizer, tell, request.stop, len(ids))
        settings: dict[str, Any] = {"do_sample": request.temperature > 0, "max_new_tokens": request.max_tokens}
        if request.temperature > 0:
            settings |= {"temperature": request.temperature, "top_k": 0, "top_p": 1.0}
            if request.seed is not None:
                torch.manual_seed(request.seed)
        prompt = torch.tensor([ids], device=self._model.device)
        with torch.inference_mode(), self._using(request.adapter):
            made = self._model.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), stopping_criteria=[listener], **settings
            )
        new = made[0, len(ids) :].tolist()
        listener.finish(new)
        if listener.ended is not None:
            return Done(listener.ended, len(ids), len(new))
        ends = self._model.generation_config.eos_token_id
        ended = bool(new) and new[-1] in (ends if isinstance(ends, list) else [ends])
        return Done("stop" if ended else "length", len(ids), len(new))

    def share(self, turns: Sequence[Turn]) -> None:
        """There is one slot."""

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt."""
        return len(self._ids(turns))

    def _ids(self, turns: Sequence[Turn]) -> list[int]:
        messages = [{"role": role, "content": text} for role, text in turns]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


class _Listener:
    """Tells text as tokens come: whole characters only, and nothing that may still turn out to be a stop text."""

    def __init__(self, tokenizer: Any, tell: Tell, stop: Sequence[str], prompt: int) -> None:
        self._tokenizer, self._tell, self._stop, self._prompt = tokenizer, tell, stop, prompt
        self._told = 0
        self.ended: Any = None

    def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        self._hear(ids[0, self._prompt :].tolist(), last=False)
        return torch.tensor([self.ended is not None])

    def finish(self, new: list[int]) -> None:
        """Tell what was held back."""
        if self.ended is None:
            self._hear(new, last=True)

    def _hear(self, new: list[int], *, last: bool) -> None:
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        cuts = [at for at in (text.find(mark) for mark in self._stop) if at >= 0]
        if cuts:
            self._say(text[: min(cuts)])
            self.ended = self.ended or "stop"
            return
        if not last:
            text = text.removesuffix("\N{REPLACEMENT CHARACTER}")
            held = max((n for mark in self._stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
            text = text[: len(text) - held]
        self._say(text)

    def _say(self, text: str) -> None:
        if len(text) > self._told:
            piece, self._told = text[self._told :], len(text)
            if self._tell(piece):
                self.ended = "cancelled"


def check_keys(model: Any, name: str, adapter: Adapter) -> None:
    """Every matrix of the file has its place in the model, and every place its matrix, with the same values.

    Raises:
        ModelError: names what is missing and what is too many; peft only warns.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    given = load_file(adapter.folder / WEIGHTS)
    placed = get_peft_model_state_dict(model, adapter_name=name)
    wrong = [f"missing: {key}" for key in sorted(placed.keys() - given.keys())]
    wrong += [f"unexpected: {key}" for key in sorted(given.keys() - placed.keys())]
    wrong += [
        f"not loaded: {key}" for key in sorted(given.keys() & placed.keys())
        if given[key].shape != placed[key].shape or not torch.equal(given[key].float(), placed[key].float().cpu())
    ]  # fmt: skip
    if wrong:
        more = f" … and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ModelError(f"{adapter.folder / WEIGHTS} does not fit the model: {'; '.join(wrong[:4])}{more}")


def load_transformers(name: str, spec: ChatModelSpec) -> LocalChat:
    """``transformers:FOLDER``, or a name on the hub that is in its cache or can be asked for.

    Raises:
        ModelError: not a model, no chat template, or no room for the context asked for.
        MissingExtra: torch or transformers is not installed.
    """
    from llmkit.models.local.chat_model import adapters_of, chat_of, one_at_a_time
    from llmkit.models.local.engine_calls import EngineCalls

    need("torch", feature="models on transformers", extra="train")
    one_at_a_time(spec, "transformers")
    model, tokenizer, path = open_causal(name, threads=spec.threads)
    trained = int(getattr(model.config, "max_position_embeddings", _CONTEXT))
    context = spec.context or min(trained, _CONTEXT)
    if context > trained:
        raise ModelError(f"{name} was trained with a context of {trained} tokens; {context} were asked for")
    engine = TransformersEngine(model, tokenizer, context=context)

    def load(adapters: Mapping[str, Adapter]) -> TransformersEngine:
        engine.with_adapters(adapters)
        return engine

    return chat_of(EngineCalls(load, adapters_of(spec, path)), path, name, spec, context)


def open_causal(
    name: str, *, dtype: Any = None, quantised: bool = False, threads: int | None = None
) -> tuple[Any, Any, Path]:
    """Model, tokenizer and folder of a causal language model with a chat template.

    Args:
        name: a folder, or a name on the hub.
        dtype: torch's; none: bfloat16 where the processor computes in it, else float32.
        quantised: in 4 bits by bitsandbytes, which needs CUDA.
        threads: of torch; none: OMP_NUM_THREADS, or all CPUs.

    Raises:
        ModelError: says what is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils import logging as progress

    from llmkit import cpu

    torch.set_num_threads(threads or cpu.threads())
    # peft asks for a property that transformers has renamed
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
    progress.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError(f"{path} is a file: transformers: takes a folder; a GGUF file is local:{name}")
    source = str(path) if path.is_dir() else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        how: dict[str, Any] = {"dtype": dtype or fast_dtype(), "trust_remote_code": False, "use_safetensors": True}
        if quantised:
            need("bitsandbytes", feature="a base in 4 bits", extra="train")
            how["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
        if torch.cuda.is_available():
            how["device_map"] = "cuda"
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **how)
        model, found = loaded
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name} cannot be opened by transformers: {str(error).splitlines()[0]}") from error
    require_all_weights(Path(name), found)
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(f"{name} has no chat template: it is not a chat model; use its instruction-tuned version")
    return model, tokenizer, path if path.is_dir() else _snapshot(name)


def fast_dtype() -> Any:
    """bfloat16 where the processor has instructions for it (AMX, AVX-512 BF16) or a GPU is there, else float32."""
    import torch

    has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if torch.cuda.is_available() or has() else torch.float32


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))
