"""One optimiser step with prompts computed once against TRL's own way: the gradient of every parameter."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path
from typing import Any, cast

import pytest
import tiny
import torch
import torch.multiprocessing as mp
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.cli.arguments import GRPOSettings
from pivotmine_trainer.train.shared_prefix import groups_of
from pivotmine_trainer.train.trainer import Additions, PivotTrainer

SIZES: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
}
PROMPTS = [list(range(5, 65)), list(range(70, 91)), [300, 301, 302], list(range(100, 140))]
LINE = "prefixes  each prompt once per sample"


def make(kind: str) -> Any:
    """A model with random weights; a window of 16 is shorter than most prompts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "sliding":
            return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16))
        if kind == "mixed":
            layers: dict[str, Any] = {
                "layer_types": ["sliding_attention", "full_attention"],
                "use_sliding_window": True,
            }
            return Qwen3ForCausalLM(Qwen3Config(**SIZES, **layers, sliding_window=16))
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES))
        if kind == "eager":
            model.set_attn_implementation("eager")
        if kind in ("lora", "dropout"):
            dropout = 0.05 if kind == "dropout" else 0.0
            config = LoraConfig(target_modules="all-linear", r=4, lora_alpha=8, lora_dropout=dropout)
            model = get_peft_model(model, config)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.1)
        return model


def completions(prompts: list[list[int]]) -> list[list[int]]:
    """Completions of many lengths, which depend on the place in the group; one in five has no end-of-turn token."""
    found: list[list[int]] = []
    for place, prompt in enumerate(prompts):
        rng = torch.Generator().manual_seed(1000 * prompt[0] + place % 4)
        length = int(torch.randint(1, 13, (1,), generator=rng))
        ids = torch.randint(3, 380, (length,), generator=rng).tolist()
        found.append([*ids, 2] if length % 5 else [*ids, *ids][:13])
    return found


def reward(*, completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [1.0 if sum(ids) % 2 else 0.25 for ids in completion_ids]


class Replaying(PivotTrainer):
    """A trainer that does not sample: the completions are given."""

    def _tokenize_prompts(self, prompts: list[str]) -> Any:
        return [PROMPTS[int(name)] for name in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return completions(prompt_ids), None


def gradient(policy: Path, out: Path, kind: str, way: str, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """The change of every trained weight in one step of plain SGD at rate 1, and the trainer."""
    tokenizer = tiny.load_tokenizer(policy)
    model = AutoModelForCausalLM.from_pretrained(kind) if Path(kind).is_dir() else make(kind)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    given: dict[str, Any] = {
        "num_generations": 4,
        "prompts_per_step": 3,
        "per_device_train_batch_size": 12,
        "temperature": 1.5,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": 13,
        "max_steps": 1,
        "learning_rate": 1.0,
        "warmup_steps": 0,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
    }
    trainer = Replaying(
        model=model,
        reward_funcs=reward,
        args=GRPOSettings(output_dir=str(out), **{**given, **options}),
        train_dataset=Dataset.from_list([{"prompt": str(place), "state_id": f"s{place}"} for place in range(4)]),
        processing_class=tokenizer,
        additions=Additions(shared_prefix=way),
    )
    trainer.train()
    after = {name.removeprefix("module."): weight for name, weight in cast(Any, trainer.model).named_parameters()}
    return {name: (after[name].detach() - old).float() for name, old in before.items()}, trainer


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    scale = max(change.abs().max().item() for change in expected.values())
    assert scale > 1e-3
    for name, change in expected.items():
        torch.testing.assert_close(found[name], change, rtol=1e-3, atol=2e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kind", ["full", "lora", "sliding", "mixed"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_checkpointing": True},
        {"per_device_train_batch_size": 4, "prompts_per_step": 3},
        {"per_device_train_batch_size": 6, "prompts_per_step": 3},
        {
            **{"prompts_per_step": 1, "per_device_train_batch_size": 4, "steps_per_generation": 2},
            **{"num_iterations": 2, "max_steps": 4, "learning_rate": 0.1, "mask_truncated_completions": False},
        },
    ],
    ids=["at once", "checkpointing", "accumulated", "cut groups", "several updates"],
)
def test_a_step_s_gradient_is_that_of_the_dense_way(
    kind: str, options: dict[str, Any], policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, dense = gradient(policy, tmp_path / "dense", kind, "false", **options)
    found, packed = gradient(policy, tmp_path / "packed", kind, "packed", **options)
    assert dense._shared == {}
    assert packed._shared
    assert LINE not in capsys.readouterr().out
    assert_equal(found, expected)


@pytest.mark.parametrize("kind", ["full", "lora", "sliding", "mixed"])
def test_the_cached_way_gives_the_same_gradient(kind: str, policy: Path, tmp_path: Path) -> None:
    expected, _ = gradient(policy, tmp_path / "dense", kind, "false")
    found, cached = gradient(policy, tmp_path / "cached", kind, "cached")
    assert cached._shared
    assert_equal(found, expected)


def test_under_checkpointing_the_cached_way_is_the_packed_one(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers would drop the cache, and an action would not see its prompt."""
    expected, _ = gradient(policy, tmp_path / "dense", "full", "false")
    found, _ = gradient(policy, tmp_path / "cached", "full", "cached", gradient_checkpointing=True)
    assert "prefixes  packed, not cached: gradient checkpointing" in capsys.readouterr().out
    assert_equal(found, expected)


def test_tokens_are_computed_once(policy: Path, tmp_path: Path) -> None:
    """All tokens of each prompt, and of each action all but the last, which predicts nothing; at most 10 % padding."""
    _, trainer = gradient(policy, tmp_path, "full", "packed", mask_truncated_completions=False)
    assert trainer._buffered_inputs is not None
    drawn = {tuple(ids[mask.bool()].tolist()) for ids, mask in prompts_of(trainer)}
    actions = [len(ids) - 1 for prompt in drawn for ids in completions([list(prompt)] * 4)]
    distinct = sum(map(len, drawn)) + sum(actions)
    assert distinct <= trainer._shared["policy"].num_computed <= 1.12 * distinct


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_reference_s_prompts_are_shared_too(kind: str, policy: Path, tmp_path: Path) -> None:
    """Two updates, so that policy and reference differ; an adapter's reference is its base model."""
    if kind == "full":
        make("full").save_pretrained(tmp_path / "model")
        kind = str(tmp_path / "model")
    options: dict[str, Any] = {"beta": 0.5, "max_steps": 2, "learning_rate": 0.1}
    expected, _ = gradient(policy, tmp_path / "dense", kind, "false", **options)
    found, packed = gradient(policy, tmp_path / "packed", kind, "packed", **options)
    assert set(packed._shared) == ({"policy"} if kind == "lora" else {"policy", "reference"})
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dropout", "dropout is above 0; give --disable_dropout true"),
        ("eager", "attention is eager; --attn_implementation sdpa shares prompts"),
    ],
)
def test_a_model_that_cannot_share_takes_the_dense_way(
    kind: str, words: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, trainer = gradient(policy, tmp_path, kind, "packed")
    assert trainer._shared == {}
    assert f"{LINE}: {words}\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["adapter", "new adapter", "attention", "eager", "eager adapter"])
def test_the_advice_lets_a_model_share(
    kind: str, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options are used exactly as the printed line has them; the model is in a user's folder."""
    folder, options = policy, {"max_steps": 1, "eval_strategy": "no"}
    if kind == "new adapter":
        options |= {"use_peft": "true", "lora_dropout": 0.1}
    if "eager" in kind:
        options |= {"attn_implementation": "eager"}
    if kind in ("adapter", "eager adapter"):
        folder, model = tmp_path / "adapter", AutoModelForCausalLM.from_pretrained(policy)
        config = LoraConfig(target_modules="all-linear", r=2, lora_dropout=0.0 if "eager" in kind else 0.1)
        config.task_type = "CAUSAL_LM"
        tiny.save(folder, get_peft_model(model, config), tiny.load_tokenizer(policy))
    if kind == "attention":
        model = AutoModelForCausalLM.from_pretrained(policy, attention_dropout=0.1)
        folder = tiny.save(tmp_path / "dropping", model, tiny.load_tokenizer(policy))
    main(tiny.command(folder, dataset, tmp_path / "dense", **options))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(LINE)]
    assert len(said) == 1
    advice = shlex.split(said[0][said[0].index("--") :].removesuffix(" shares prompts"))
    main([*tiny.command(folder, dataset, tmp_path / "shared", **options), *advice])
    assert LINE not in capsys.readouterr().out


def test_a_difference_is_noticed_in_the_first_step(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pivotmine_trainer.train.shared_prefix import SharedPrefix

    expected, _ = gradient(policy, tmp_path / "dense", "full", "false")
    right: Any = vars(SharedPrefix)["_masks"]

    def blind(self: Any, action: torch.Tensor, positions: torch.Tensor, wide: int) -> Any:
        return right(self, action.masked_fill(action == -1, -3), positions, wide)

    monkeypatch.setattr(SharedPrefix, "_masks", blind)
    found, trainer = gradient(policy, tmp_path / "packed", "full", "packed")
    assert f"{LINE}: log-probabilities differ by" in capsys.readouterr().out
    assert trainer._shared == {}
    assert_equal(found, expected)


def test_in_bfloat16_the_error_is_that_of_rounding(policy: Path, tmp_path: Path) -> None:
    """At most 1.5 times the error of the dense way, both against float32."""
    exact, _ = gradient(policy, tmp_path / "exact", "full", "false")
    dense, _ = gradient(policy, tmp_path / "dense", "full", "false", bf16=True)
    packed, trainer = gradient(policy, tmp_path / "packed", "full", "packed", bf16=True)
    assert trainer._shared

    def error(found: dict[str, torch.Tensor]) -> float:
        return torch.cat([(found[name] - exact[name]).flatten() for name in exact]).norm().item()

    assert 0 < error(packed) <= 1.5 * error(dense)


@pytest.mark.parametrize("way", ["packed", "cached"])
def test_two_processes_make_the_step_of_one(
    way: str, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole groups on each process, two passes per step."""
    # The processes import this module by its name, which otherwise only pytest knows.
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    expected, _ = gradient(policy, tmp_path / "dense", "full", "false", **SHARED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_one_of_two, args=(port, policy, tmp_path, way), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    for rank in range(2):
        assert_equal(torch.load(tmp_path / f"found{rank}.pt"), expected)


SHARED: dict[str, Any] = {"prompts_per_step": 4, "per_device_train_batch_size": 4}


def _one_of_two(rank: int, port: int, policy: Path, folder: Path, way: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found, trainer = gradient(policy, folder / "out", "full", way, **SHARED)
    assert trainer._shared
    torch.save(found, folder / f"found{rank}.pt")


def prompts_of(trainer: Any) -> Any:
    return zip(trainer._buffered_inputs[0]["prompt_ids"], trainer._buffered_inputs[0]["prompt_mask"], strict=True)


def test_groups_are_runs_of_equal_prompts() -> None:
    ids = torch.tensor([[0, 5, 6, 7, 8], [0, 5, 6, 9, 0], [4, 5, 6, 9, 0], [0, 0, 6, 1, 1]])
    mask = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    found = [(group.prompt, group.rows, group.lengths) for group in groups_of(ids, mask, 2)]
    assert found == [([5, 6], [0, 1], [2, 1]), ([4, 5, 6], [2], [0]), ([6], [3], [2])]
