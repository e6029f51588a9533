"""Adapters: the algebra of LoRA, training that survives, serving on two runtimes, export with parity."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_chat import make_gguf, make_tiny

from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.models.chat import ChatModelSpec, load_chat
from llmkit.models.local.adapter import read_adapter
from llmkit.training.adapters.base_model import open_base
from llmkit.training.adapters.export import export
from llmkit.training.adapters.lora_linear import use_lean_forward
from llmkit.training.loop import cosine, peak_mb
from llmkit.training.lora.adapter import add_adapter
from llmkit.training.lora.batching import epoch_batches
from llmkit.training.lora.chat_template import Example
from llmkit.training.lora.recipe import LoraRecipe
from llmkit.training.lora.train import Trained, prepare, train

ROWS = [{"prompt": f"When does pump {n} rest?", "completion": f"In May [{n % 3}]."} for n in range(40)]
ASKED = "When does pump 7 rest?"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Tiny products are slower on two."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A tiny base as folder and as GGUF, and rows to learn."""
    folder = tmp_path_factory.mktemp("lora")
    make_tiny(folder / "base")
    make_gguf(folder / "base", folder / "base.gguf")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def recipe(made: Path, out: Path, **more) -> LoraRecipe:
    settings = {
        "base": str(made / "base"), "out": str(out), "precision": "fp32", "threads": 1, "rank": 4, "alpha": 8,
        "data": [{"type": "instructions", "path": str(made / "rows.jsonl")}], "batch": 8, "lr": 0.02, "epochs": 4,
        "evaluate_every": 5, "dev_share": 0.15,
    }  # fmt: skip
    return LoraRecipe.model_validate({**settings, **more})


@pytest.fixture(scope="module")
def trained(made) -> Trained:
    return train(prepare(recipe(made, made / "adapter")))


@pytest.fixture(scope="module")
def on_gguf(made, tmp_path_factory) -> Path:
    """An adapter trained on the GGUF file, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(tmp_path_factory.mktemp("home")))
        return train(prepare(recipe(made, made / "adapter-gguf", base=str(made / "base.gguf"), seed=3))).folder


def plain(made: Path):
    import torch

    return open_base(str(made / "base"), dtype=torch.float32, threads=1)


def logits(model, text: str = ASKED):
    import torch

    ids = torch.tensor([[1, *range(10, 40)]])
    with torch.no_grad():
        return model(input_ids=ids).logits


class TestAlgebra:
    def test_it_starts_as_identity(self, made, tmp_path):
        import torch

        base = plain(made)
        before = logits(base.model)
        model = add_adapter(base.model, recipe(made, tmp_path))
        assert torch.equal(logits(model), before)
        assert use_lean_forward(model) == 14
        assert torch.equal(logits(model), before)

    @pytest.mark.parametrize("more", [{}, {"rslora": True}, {"targets": ["q_proj", "v_proj"]}])
    def test_the_lean_forward_pass_is_that_of_peft_gradients_included(self, made, tmp_path, more):
        import torch

        model = add_adapter(plain(made).model, recipe(made, tmp_path, **more))
        learned = {name: one for name, one in model.named_parameters() if one.requires_grad}
        for parameter in learned.values():
            torch.nn.init.normal_(parameter, std=0.1)
        ids = torch.tensor([list(range(5, 45))])

        def gradients():
            model.zero_grad()
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            return float(loss), {name: one.grad.clone() for name, one in learned.items()}

        loss, of_peft = gradients()
        assert use_lean_forward(model) == (14 if "targets" not in more else 4)
        ours, of_ours = gradients()
        assert ours == pytest.approx(loss, abs=1e-5)
        for name, gradient in of_peft.items():
            assert torch.allclose(gradient, of_ours[name], atol=1e-5, rtol=1e-4), name

    def test_layers_with_dropout_or_dora_are_left_to_peft(self, made, tmp_path):
        assert use_lean_forward(add_adapter(plain(made).model, recipe(made, tmp_path, dropout=0.1))) == 0
        assert use_lean_forward(add_adapter(plain(made).model, recipe(made, tmp_path, dora=True))) == 0

    def test_the_base_stays_byte_equal(self, made, tmp_path):
        prepared = prepare(recipe(made, tmp_path / "a", steps=3))
        weights = dict(prepared.base.model.named_parameters())
        before = {name: one.detach().clone() for name, one in weights.items()}
        train(prepared)
        assert before
        for name, one in before.items():
            assert weights[name].detach().numpy().tobytes() == one.numpy().tobytes(), name

    def test_merging_is_w_plus_ba_times_scale(self, made, trained):
        import torch
        from safetensors.torch import load_file

        from llmkit.training.adapters.merge import merge

        adapter = read_adapter(trained.folder)
        matrices = load_file(trained.folder / "adapter_model.safetensors")
        before = {name: one.detach().clone() for name, one in plain(made).model.named_parameters()}
        after = dict(merge(plain(made).model, adapter).named_parameters())
        changed = 0
        for name, weight in before.items():
            key = f"base_model.model.{name.removesuffix('.weight')}"
            if f"{key}.lora_A.weight" in matrices:
                change = matrices[f"{key}.lora_B.weight"] @ matrices[f"{key}.lora_A.weight"] * adapter.scale
                assert torch.allclose(after[name], weight + change, atol=1e-6)
                changed += 1
            else:
                assert torch.equal(after[name], weight)
        assert changed == 14

    @pytest.mark.parametrize("more", [{"dora": True}, {"rslora": True, "dropout": 0.1}])
    def test_variants_are_trained_and_served_too(self, made, tmp_path, more):
        folder = train(prepare(recipe(made, tmp_path / "a", steps=4, **more))).folder
        assert load_chat(
            {"model": f"transformers:{made / 'base'}", "adapter": str(folder), "max_tokens": 4, "threads": 1}
        ).invoke(ASKED)


class TestTraining:
    def test_it_learns_and_keeps_the_record_of_how(self, trained):
        state, record = trained.state, trained.record
        assert state.losses[-1] < state.losses[0] / 2
        assert record["figures"]["dev_loss"] == min(row["loss"] for row in state.dev)
        files = {path.name for path in trained.folder.iterdir()}
        assert files == {"adapter_config.json", "adapter_model.safetensors", "llmkit.json", "training.json", "loss.svg"}
        told = json.loads((trained.folder / "training.json").read_text())
        assert told["losses"] == state.losses
        assert "<polyline" in (trained.folder / "loss.svg").read_text()
        assert len(record["base"]["digests"][0]) == len(record["template_digest"]) == 64
        assert record["figures"]["probe"] > 0.1
        assert not list(trained.folder.parent.glob("adapter.*"))

    def test_gradient_checkpointing_changes_no_loss(self, made, tmp_path):
        curves = [
            train(prepare(recipe(made, tmp_path / str(on), steps=3, checkpointing=on))).state.losses
            for on in (False, True)
        ]
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)

    def test_the_budget_of_a_pack_changes_no_loss(self, made, tmp_path):
        curves = [
            train(prepare(recipe(made, tmp_path / str(n), steps=3, pack_tokens=n))).state.losses for n in (64, 2048)
        ]
        assert curves[0] == pytest.approx(curves[1], rel=1e-3)

    @pytest.mark.slow
    def test_killed_it_goes_on_along_the_same_curve(self, made, tmp_path):
        settings = recipe(made, tmp_path / "killed", steps=12, evaluate_every=3, dropout=0.1)
        whole = train(prepare(settings.replace(out=str(tmp_path / "whole"))))
        (tmp_path / "r.yaml").write_text(
            json.dumps({key: value for key, value in settings.config().items() if key != "type"})
        )
        script = Path(__file__).parent / "lora_killed.py"
        child = subprocess.Popen([sys.executable, script, tmp_path / "r.yaml"], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 8:
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
        assert not (tmp_path / "killed").exists()
        told: list[str] = []
        seen: list[int] = []
        prepared = prepare(settings)
        again = train(prepared, note=told.append, on_step=lambda report: seen.append(report.step))
        assert seen[0] in (4, 7)
        assert f"continuing after step {seen[0] - 1} of the training" in told[0]
        assert again.state.losses == pytest.approx(whole.state.losses, rel=1e-5)
        assert [row["step"] for row in again.state.dev] == [row["step"] for row in whole.state.dev]
        assert [row["loss"] for row in again.state.dev] == pytest.approx(
            [row["loss"] for row in whole.state.dev], rel=1e-5
        )
        assert not (tmp_path / "killed.training").exists()

    def test_another_training_is_not_gone_on_with(self, made, tmp_path):
        class Stopped(BaseException):
            pass

        def stop(report):
            if report.step == 3:
                raise Stopped

        settings = recipe(made, tmp_path / "a", steps=6, evaluate_every=2)
        with pytest.raises(Stopped):
            train(prepare(settings), on_step=stop)
        other = prepare(settings.replace(lr=0.01))
        told: list[str] = []
        with pytest.raises(
            DataError, match=r"unfinished training with other settings: lr was 0\.02 and is 0\.01\. .*--fresh"
        ):
            train(other, note=told.append)
        assert not told
        assert train(prepare(settings.replace(lr=0.01)), fresh=True).folder.is_dir()

    def test_a_loss_that_is_no_number_stops_with_its_rows(self, made, tmp_path):
        with pytest.raises(DataError, match=r"the (loss|gradient) is (nan|inf).* at step \d+ .*rows\.jsonl, line \d+"):
            train(prepare(recipe(made, tmp_path / "a", lr=1e30, warmup=0, clip=1e30, steps=8)))
        assert not (tmp_path / "a").exists()

    @pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
    def test_a_full_disk_leaves_the_adapter_that_was_there(self, made, tmp_path):
        import resource

        folder = train(prepare(recipe(made, tmp_path / "a", steps=2))).folder
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        prepared = prepare(recipe(made, tmp_path / "a", steps=2, seed=1))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(DataError, match="cannot be written"):
                train(prepared)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("a")] == ["a"]

    def test_a_crash_between_the_two_renames_is_mended(self, made, tmp_path):
        folder = train(prepare(recipe(made, tmp_path / "a", steps=2))).folder
        folder.rename(tmp_path / "a.old")
        prepare(recipe(made, tmp_path / "a", steps=2))
        assert read_adapter(folder).rank == 4

    @pytest.mark.parametrize("targets", [["qq_proj"], ["v_proj", "qq_proj"]])
    def test_targets_that_are_nowhere_are_named(self, made, tmp_path, targets):
        """Also beside others: peft would leave them out in silence."""
        with pytest.raises(ModelError, match=r"unknown layer 'qq_proj'; did you mean 'q_proj'\? \(known: .*v_proj"):
            train(prepare(recipe(made, tmp_path / "a", targets=targets)))

    def test_a_base_that_is_nowhere_is_not_looked_for_on_the_net(self):
        with pytest.raises(ModelError, match="unknown model 'smolm2'; did you mean 'smollm2'"):
            open_base("smolm2")
        with pytest.raises(ModelError, match="the path does not exist"):
            open_base("./models/mine")

    def test_steps_take_every_row_once_an_epoch(self, made, tmp_path):
        settings = recipe(made, tmp_path)
        rows = [Example((n,), (True,), f"line {n}") for n in range(19)]
        first, second = (epoch_batches(rows, settings.batch, settings.seed, epoch) for epoch in (0, 1))
        assert [len(part) for part in first] == [8, 8, 3]
        assert sorted(row.ids[0] for part in first for row in part) == list(range(19))
        assert first != second
        assert second == epoch_batches(rows, settings.batch, settings.seed, 1)
        rates = [cosine(step, 100, settings.warmup) for step in range(100)]
        assert max(rates) == pytest.approx(1)
        assert rates[0] < rates[4]
        assert rates[99] < 0.12
        assert peak_mb() > 50


class TestServing:
    def spec(self, made, folder, **more):
        return {"model": f"transformers:{made / 'base'}", "adapter": str(folder), "max_tokens": 8, "threads": 1, **more}

    def test_transformers_answers_with_the_adapter_or_without(self, made, trained):
        model = load_chat(self.spec(made, trained.folder))
        assert model.invoke(ASKED).text.startswith("In May [")
        assert not model.bind(adapter=None).invoke(ASKED).text.startswith("In May")
        assert "".join(piece.text for piece in model.stream(ASKED)) == model.invoke(ASKED).text
        assert model.invoke(ASKED, stop=[" ["]).text == "In May"
        assert model.invoke(ASKED).usage_metadata["input_tokens"] > 5

    def test_two_adapters_are_chosen_per_call_and_swapped(self, made, trained, tmp_path):
        rows = tmp_path / "rows.jsonl"
        rows.write_text("".join(json.dumps({**row, "completion": "not found"}) + "\n" for row in ROWS))
        data = [{"type": "instructions", "path": str(rows)}]
        other = train(prepare(recipe(made, tmp_path / "other", data=data, seed=5))).folder
        model = load_chat(self.spec(made, trained.folder, adapters={"other": str(other)}))
        assert model.invoke(ASKED).text.startswith("In May")
        assert model.bind(adapter="other").invoke(ASKED).text.startswith("not found")
        assert model.invoke(ASKED).text.startswith("In May")
        with pytest.raises(ModelError, match="nonesuch"):
            model.bind(adapter="nonesuch").invoke(ASKED)
        model.set_adapter("default", other)
        assert model.invoke(ASKED).text.startswith("not found")
        with pytest.raises(ModelError, match="no adapter at"):
            model.set_adapter("default", tmp_path / "none")
        damaged = tmp_path / "damaged"
        shutil.copytree(other, damaged)
        (damaged / "adapter_model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(ModelError, match="cannot be loaded"):
            model.set_adapter("default", damaged)
        assert model.invoke(ASKED).text.startswith("not found")

    def test_llama_cpp_answers_with_the_adapter_per_call(self, made, on_gguf):
        spec = {"model": f"local:{made / 'base.gguf'}", "max_tokens": 8, "context": 512, "threads": 1}
        model = load_chat({**spec, "adapter": str(on_gguf), "adapters": {"again": str(on_gguf)}})
        assert model.invoke(ASKED).text.startswith("In May [")
        assert model.bind(adapter="again").invoke(ASKED).text.startswith("In May [")
        assert model.bind(adapter=None).invoke(ASKED).text == load_chat(spec).invoke(ASKED).text
        with pytest.raises(ModelError, match="unknown adapter 'nonesuch'"):
            model.bind(adapter="nonesuch").invoke(ASKED)
        model.set_adapter("late", on_gguf)
        assert model.bind(adapter="late").invoke(ASKED).text.startswith("In May [")

    def test_another_base_is_refused(self, made, trained, tmp_path):
        other = make_tiny(tmp_path / "other", seed=9)
        with pytest.raises(ModelError, match=r"was trained on .* has other weights"):
            load_chat({**self.spec(made, trained.folder), "model": f"transformers:{other}"})
        with pytest.raises(ModelError, match="has other weights"):
            load_chat({"model": f"local:{made / 'base.gguf'}", "adapter": str(trained.folder), "context": 512})

    def test_openvino_refuses_what_it_would_ignore(self):
        from llmkit.models.local.openvino import OpenVINOEngine

        engine = object.__new__(OpenVINOEngine)
        with pytest.raises(ModelError, match="llmkit train export"):
            engine.with_adapters({"default": read_adapter_stub()})

    def test_keys_that_are_missing_or_too_many_are_errors(self, made, trained, tmp_path):
        from safetensors.torch import load_file, save_file

        for change, says in (("missing", "missing: .*q_proj"), ("more", "unexpected: .*layers.7")):
            folder = tmp_path / change
            shutil.copytree(trained.folder, folder)
            tensors = load_file(folder / "adapter_model.safetensors")
            key = next(name for name in tensors if "q_proj.lora_A" in name)
            if change == "missing":
                del tensors[key]
            else:
                tensors[key.replace("layers.0", "layers.7")] = tensors[key].clone()
            save_file(tensors, folder / "adapter_model.safetensors")
            with pytest.raises(ModelError, match=says):
                load_chat(self.spec(made, folder))

    def test_an_adapter_without_effect_is_told(self, made, trained, on_gguf, tmp_path):
        from safetensors.torch import load_file, save_file

        bases = {trained.folder: f"transformers:{made / 'base'}", on_gguf: f"local:{made / 'base.gguf'}"}
        for adapter, base in bases.items():
            folder = tmp_path / adapter.name
            shutil.copytree(adapter, folder)
            tensors = load_file(folder / "adapter_model.safetensors")
            save_file(
                {name: value * (0 if "lora_B" in name else 1) for name, value in tensors.items()},
                folder / "adapter_model.safetensors",
            )
            with pytest.raises(ModelError, match="changes nothing"):
                load_chat({"model": base, "adapter": str(folder), "context": 512, "threads": 1})

    def test_what_is_no_adapter_says_so(self, made, trained, tmp_path):
        with pytest.raises(ModelError, match="no adapter at"):
            load_chat(self.spec(made, tmp_path / "none"))
        with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
            load_chat(self.spec(made, made / "base"))
        folder = tmp_path / "foreign"
        shutil.copytree(trained.folder, folder)
        (folder / "llmkit.json").unlink()
        with pytest.raises(ModelError, match=r"has no llmkit\.json"):
            load_chat(self.spec(made, folder))

    def test_another_chat_template_is_refused(self, made, trained, tmp_path):
        base = tmp_path / "base"
        shutil.copytree(made / "base", base)
        template = base / "chat_template.jinja"
        template.write_text(template.read_text() + " ")
        with pytest.raises(ModelError, match="another chat template"):
            load_chat({**self.spec(made, trained.folder), "model": f"transformers:{base}"})

    def test_a_model_that_lacks_weights_is_refused_and_not_completed_at_random(self, made, tmp_path):
        from safetensors.torch import load_file, save_file

        base = tmp_path / "base"
        shutil.copytree(made / "base", base)
        tensors = load_file(base / "model.safetensors")
        lost = next(name for name in tensors if "q_proj" in name)
        save_file({k: v for k, v in tensors.items() if k != lost}, base / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match=f"lacks 1 tensors .*{lost}"):
            load_chat({"model": f"transformers:{base}", "max_tokens": 4, "threads": 1})

    def test_adapters_of_a_server_are_refused_in_the_recipe(self):
        with pytest.raises(ValueError, match="adapters belong to local: and transformers: models"):
            ChatModelSpec(model="openai:gpt-5-mini", adapter="x")

    def test_the_adapter_is_part_of_what_a_run_is_a_run_of(self, made, trained, tmp_path):
        from llmkit.evaluation.runs.run_digest import model_identity

        spec = ChatModelSpec.model_validate(self.spec(made, trained.folder))
        before = model_identity(spec)
        copy = tmp_path / "copy"
        shutil.copytree(trained.folder, copy)
        assert model_identity(ChatModelSpec.model_validate(self.spec(made, trained.folder))) == before
        weights = trained.folder / "adapter_model.safetensors"
        kept = weights.read_bytes()
        try:
            weights.write_bytes(kept[:-4] + b"\x00\x00\x00\x01")
            assert model_identity(spec) != before
        finally:
            weights.write_bytes(kept)


def read_adapter_stub():
    from llmkit.models.local.adapter import Adapter

    return Adapter(Path("somewhere"), {}, {}, "")


class TestExport:
    @pytest.mark.slow
    def test_merged_safetensors_answer_the_same(self, made, trained, tmp_path):
        record = export(trained.folder, "safetensors", tmp_path / "merged")
        assert record["parity"] == {
            "prompts": 8,
            "greedy_agreement": 1.0,
            "identical": 8,
            "max_logprob_difference": pytest.approx(0, abs=1e-3),
        }
        spec = {"max_tokens": 8, "threads": 1}
        merged = load_chat({"model": f"transformers:{tmp_path / 'merged'}", **spec})
        with_adapter = load_chat({"model": f"transformers:{made / 'base'}", "adapter": str(trained.folder), **spec})
        assert merged.invoke(ASKED).text == with_adapter.invoke(ASKED).text
        with pytest.raises(ConfigError, match="is there already"):
            export(trained.folder, "safetensors", tmp_path / "merged")

    @pytest.mark.parametrize(
        ("to", "kind", "within"), [("gguf-adapter", "f16", 0.01), ("gguf", "f32", 0.01), ("gguf", "f16", 0.02)]
    )
    def test_gguf_forms_are_near_the_adapter_on_its_base(self, on_gguf, tmp_path, to, kind, within):
        record = export(on_gguf, to, tmp_path / "x.gguf", kind=kind)
        assert record["parity"]["max_logprob_difference"] < within
        assert json.loads((tmp_path / "x.gguf.json").read_text()) == record

    def test_a_coarse_merge_is_refused_and_leaves_nothing(self, on_gguf, tmp_path):
        with pytest.raises(ModelError, match=r"differs too much .*finer type than q4_0"):
            export(on_gguf, "gguf", tmp_path / "x.gguf", kind="q4_0", limit=0.01)
        assert list(tmp_path.glob("x.*")) == []

    def test_answers_that_differ_are_refused_by_default_and_accepted_when_asked(self, on_gguf, tmp_path, monkeypatch):
        from llmkit.training.adapters import export as module
        from llmkit.training.adapters.parity import Parity

        measured = module.parity
        monkeypatch.setattr(module, "parity", lambda *given: Parity(8, 0.74, 5, measured(*given).difference))
        with pytest.raises(ModelError, match=r"5 of 8 greedy answers equal and 74% of their text \(at least 75%\)"):
            export(on_gguf, "gguf-adapter", tmp_path / "x.gguf")
        assert list(tmp_path.glob("x.*")) == []
        record = export(on_gguf, "gguf-adapter", tmp_path / "x.gguf", min_agreement=0.7)
        assert record["parity"]["greedy_agreement"] == 0.74

    def test_what_a_merge_does_not_touch_is_copied_byte_for_byte(self, made, on_gguf, tmp_path):
        import gguf

        export(on_gguf, "gguf", tmp_path / "x.gguf", kind="f32")
        before, after = (gguf.GGUFReader(path) for path in (made / "base.gguf", tmp_path / "x.gguf"))
        same = {one.name: hashlib.sha256(one.data.tobytes()).hexdigest() for one in before.tensors}
        changed = [
            one.name for one in after.tensors if hashlib.sha256(one.data.tobytes()).hexdigest() != same[one.name]
        ]
        assert len(after.tensors) == len(before.tensors)
        assert len(changed) == 14
        assert not [name for name in changed if "norm" in name or "embd" in name]

    def test_a_base_of_safetensors_has_no_gguf_to_merge_into(self, trained, tmp_path):
        with pytest.raises(ModelError, match="give the GGUF file"):
            export(trained.folder, "gguf", tmp_path / "x.gguf")


@pytest.mark.slow
def test_the_command_line_shows_the_mask_trains_and_exports(made, tmp_path):
    from click.testing import CliRunner

    from llmkit.cli import cli

    sets = [f"{key}={value}" for key, value in {
        "base": made / "base", "data.type": "instructions", "data.path": made / "rows.jsonl", "out": tmp_path / "a",
        "precision": "fp32", "threads": 1, "steps": 3, "rank": 4,
    }.items()]  # fmt: skip
    options = [word for one in sets for word in ("--set", one)]
    looked = CliRunner().invoke(cli, ["train", "lora", "lora", "--check", *options])
    assert looked.exit_code == 0, looked.output
    assert "⟦In May [0].<|im_end|>⟧" in looked.output
    assert "tokens are learned" in looked.output
    assert not (tmp_path / "a").exists()
    done = CliRunner().invoke(cli, ["train", "lora", "lora", "--json", *options])
    assert json.loads(done.stdout)["figures"]["steps"] == 3
    exported = CliRunner().invoke(cli, ["train", "export", str(tmp_path / "a"), "--to", "safetensors"])
    assert "greedy answers equal" in exported.output
    assert (tmp_path / "a-merged" / "model.safetensors").is_file()


class TestPreferences:
    def rows(self, tmp_path, *rows) -> list[dict]:
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [{"type": "preferences", "path": str(path)}]

    def test_the_chosen_answer_becomes_likelier_than_the_rejected_one(self, made, tmp_path):
        pairs = [{"prompt": f"Which of {n}?", "chosen": "In May.", "rejected": "not found"} for n in range(24)]
        data = self.rows(tmp_path, *pairs)
        done = train(prepare(recipe(made, tmp_path / "a", data=data, method="dpo", steps=8, lr=0.01, evaluate_every=4)))
        assert done.state.losses[0] == pytest.approx(math.log(2), abs=1e-5)  # it starts as its own reference
        assert done.state.losses[-1] < done.state.losses[0] * 0.8
        assert done.state.dev
        spec = {"model": f"transformers:{made / 'base'}", "adapter": str(done.folder), "max_tokens": 4, "threads": 1}
        engine = load_chat(spec)._engine
        turns = [("user", "Which of 7?")]
        tokens = open_base(str(made / "base"), threads=1).tokenizer
        first, other = (tokens(text, add_special_tokens=False)["input_ids"][0] for text in ("In", "not"))

        def margin(adapter):
            told = engine._log_probabilities(turns, adapter)
            return float(told[first] - told[other])

        assert margin("default") > margin(None) + 0.1

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ({"prompt": "q", "chosen": "a"}, "unknown column 'rejected'"),
            ({"prompt": "q", "chosen": "a", "rejected": "a "}, "expected another answer"),
            ({"messages": [{"role": "user", "content": "q"}], "chosen": " ", "rejected": "a"}, "the answer is empty"),
        ],
    )
    def test_a_broken_pair_is_named(self, tmp_path, row, says):
        from llmkit.training.lora.datasets import PreferenceRows

        with pytest.raises(DataError, match=f"line 1: .*{says}"):
            list(
                PreferenceRows(**{k: v for k, v in self.rows(tmp_path, row)[0].items() if k != "type"}).conversations()
            )
