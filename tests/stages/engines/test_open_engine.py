"""Refusals before anything heavy is loaded."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pivotmine.errors import UserError
from pivotmine_stages import engines
from pivotmine_stages.engines.options import EngineOptions, derive_seed, one_line


def test_importing_the_engines_loads_none_of_their_libraries() -> None:
    heavy = "{'torch', 'transformers', 'vllm', 'openai', 'numpy', 'huggingface_hub', 'ray'}"
    program = f"import sys, pivotmine_stages.engines as e; e.default_engine(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_unknown_engine_is_told_the_known_ones() -> None:
    with pytest.raises(UserError, match="no engine is called 'tgi'; choose one of vllm, openai, transformers"):
        engines.open_engine("tgi", EngineOptions(model="m"))


@pytest.mark.parametrize("name", engines.ENGINES)
def test_a_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"pip install -c constraints.txt '\.\[{name}\]'"):
        engines.open_engine(name, EngineOptions(model="m"))


def test_an_adapter_needs_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == "peft" else package)
    with pytest.raises(UserError, match="engine transformers needs the package peft"):
        engines.open_engine("transformers", EngineOptions(model="m", adapter="a"))


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_a_model_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    for model, words in (
        (str(tmp_path), "the folder has no config.json"),
        (str(tmp_path / "gone"), "no such folder"),
        ("no-such-owner/no-such-model", "it cannot be loaded from the hub"),
        ("not a name", "it cannot be loaded from the hub"),
    ):
        with pytest.raises(UserError, match=f"^model {model}: .*{words}") as raised:
            engines.open_engine(name, EngineOptions(model=model))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("absent", ["model.safetensors", "tokenizer"])
def test_a_model_without_weights_or_tokenizer_is_one_line(absent: str, tiny_policy: Path, tmp_path: Path) -> None:
    for file in tiny_policy.iterdir():
        if not file.name.startswith(absent):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=f"^model {tmp_path}: ") as raised:
        engines.open_engine("transformers", EngineOptions(model=str(tmp_path)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["vllm", "transformers"])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_model_whose_copy_was_cut_short_names_the_file(
    name: str, file: str, tiny_policy: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_policy, tmp_path / "model"))
    whole = (model / file).read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 2):  # the last byte of some is a newline
        (model / file).write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"^model {model}: {file} is .*; copy or download the model again$"):
            engines.open_engine(name, EngineOptions(model=str(model)))


@pytest.mark.parametrize("header", ["{}", "[]", '{"a": 1}', '{"a": {"data_offsets": [0]}}', "\xff"])
def test_what_is_called_safetensors_and_is_none_is_told(header: str, tiny_policy: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_policy, tmp_path / "model"))
    text = header.encode("latin-1")
    (model / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"left over")
    with pytest.raises(UserError, match=f"^model {model}: model.safetensors is cut short or not a safetensors file"):
        engines.open_engine("transformers", EngineOptions(model=str(model)))


def test_shards_that_an_index_names_are_there(tiny_policy: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_policy, tmp_path / "model"))
    names = {"a": "model.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(
        UserError, match=f"^model {model}: 2 of 3 weight files are missing, such as model-2.safetensors"
    ):
        engines.open_engine("transformers", EngineOptions(model=str(model)))


def test_the_older_files_that_an_index_names_may_be_left_out(tiny_policy: Path, tmp_path: Path) -> None:
    """As where only safetensors and JSON files were downloaded, which is what vLLM does."""
    model = Path(shutil.copytree(tiny_policy, tmp_path / "model"))
    names = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(names))
    engine = engines.open_engine("transformers", EngineOptions(model=str(model)))
    assert (
        engine.max_model_len == engines.open_engine("transformers", EngineOptions(model=str(tiny_policy))).max_model_len
    )


def test_files_of_another_kind_or_of_other_shapes_are_one_line(tiny_policy: Path, tmp_path: Path) -> None:
    for file, words in (("tokenizer.json", "{}"), ("config.json", "{}"), ("config.json", None)):
        model = Path(shutil.copytree(tiny_policy, tmp_path / "model", dirs_exist_ok=True))
        text = (model / file).read_text()
        (model / file).write_text(words or text.replace('"hidden_size": 64', '"hidden_size": 32'))
        with pytest.raises(UserError, match=f"^model {model}: ") as raised:
            engines.open_engine("transformers", EngineOptions(model=str(model)))
        assert "\n" not in str(raised.value)


def test_an_adapter_that_was_cut_short_names_the_file(tiny_policy: Path, coin_adapter: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(coin_adapter, tmp_path / "adapter"))
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    options = EngineOptions(model=str(tiny_policy), adapter=str(adapter))
    with pytest.raises(UserError, match=f"^adapter {adapter}: adapter_model.safetensors is cut short"):
        engines.open_engine("transformers", options)
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match=f"^adapter {adapter}: no readable adapter_config.json"):
        engines.open_engine("transformers", options)


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_an_adapter_that_is_not_there_is_one_line(name: str, tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^adapter {tmp_path}: no readable adapter_config.json"):
        engines.open_engine(name, EngineOptions(model=str(tiny_policy), adapter=str(tmp_path)))


def test_the_default_engine_is_vllm_only_where_it_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_gpu(device: Path) -> bool:
        return str(device) == "/dev/nvidiactl"

    def without_gpu(device: Path) -> bool:
        return False

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for there, exists, expected in (
        (object(), with_gpu, "vllm"),
        (object(), without_gpu, "transformers"),
        (None, with_gpu, "transformers"),
    ):
        _pretend(monkeypatch, spec=there, exists=exists)
        assert engines.default_engine() == expected
    _pretend(monkeypatch, spec=object(), exists=with_gpu)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.default_engine() == "transformers"


def _pretend(monkeypatch: pytest.MonkeyPatch, *, spec: Any, exists: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    monkeypatch.setattr(Path, "exists", exists)


def test_seeds_differ_wherever_a_part_differs() -> None:
    seeds = [derive_seed(0, "a", 1), derive_seed(1, "a", 1), derive_seed(0, "b", 1), derive_seed(0, "a", 2)]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, "a", 1) == seeds[0]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_foreign_words_take_one_line() -> None:
    assert one_line("a\n b\t\tc") == "a b c"
    assert one_line("x" * 400) == "x" * 297 + "..."
