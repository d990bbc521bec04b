"""The trained policy's files: weights in the policy's own dtype, and a model card."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Trainer

from pivotmine.escape import inert
from pivotmine_trainer.cli.console import counted, is_first_process, say
from pivotmine_trainer.train import heldout
from pivotmine_trainer.train.heldout import HeldOut


def save(trainer: Trainer, config: Any) -> None:
    """Save the trained model to OUTPUT_DIR with its card, and print where. config: see `save_in_dtype`."""
    trainer.save_model(trainer.args.output_dir)
    save_in_dtype(trainer.args.output_dir, config)
    trainer.create_model_card()
    say(f"trained   {counted(trainer.state.global_step, 'step')}, saved to {trainer.args.output_dir}")


def save_in_dtype(output_dir: str | None, config: Any) -> None:
    """Cast a saved model to its policy's dtype: training keeps float32, which is twice the size.

    config: the policy's, as it was loaded. Adapters stay float32: they are small, and are merged in the policy's dtype.
    """
    dtype, folder = getattr(config, "dtype", None), Path(str(output_dir))
    if not is_first_process() or not isinstance(dtype, torch.dtype) or not (folder / "config.json").is_file():
        return
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if all(weight.dtype == dtype or not weight.is_floating_point() for weight in weights.values()):
            continue
        half = path.with_suffix(".tmp")
        cast = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in weights.items()}
        save_file(cast, half, metadata)
        half.replace(path)
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def write_card(
    output_dir: Path, method: str, facts: dict[str, str], figures: list[str], command: list[str], base: str | None
) -> None:
    """Write OUTPUT_DIR/README.md: policy, dataset, method, figures and command.

    method: `grpo` or `sft`. figures: lines of Markdown. command: what was typed. base: the policy's name.
    """
    front = ["---", "library_name: transformers", f"tags: [pivotmine, {method}, trl]"]
    front += [f"base_model: {json.dumps(base)}"] if base else []
    on = {"grpo": "pivots", "sft": "demonstrated actions"}[method]
    text = [
        *(*front, "---", f"# {_cell(output_dir.resolve().name)}", ""),
        *(f"A policy trained on {on} by `pivotmine-train`.", "", "| what | value |", "|---|---|"),
        *(f"| {_cell(name)} | {_cell(value)} |" for name, value in {"method": method, **facts}.items()),
        *("", *figures, ""),
        *("## Command", ""),
        *(f"    {line}" for line in inert(shlex.join(["pivotmine-train", *command])).split("\n")),
        "",
    ]
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "README.md").write_text("\n".join(text), encoding="utf-8")


def heldout_figures(output_dir: Path) -> list[str]:
    """A Markdown table of the first and the last evaluation of held-out pivots."""
    evaluations = heldout.read(output_dir)
    return ["## Held-out pivots", "", *(_figures(evaluations) if evaluations else ["No held-out pivots were sampled."])]


def losses(history: Iterable[Mapping[str, Any]]) -> list[str]:
    """A Markdown table of the first and the last loss in a trainer's log, in training and held out."""
    lines = ["## Loss", "", "| loss | step | nats a token |", "|---|---|---|"]
    for name, key in (("training", "loss"), ("held out", "eval_loss")):
        found = {int(entry["step"]): float(entry[key]) for entry in history if key in entry}
        lines += [
            f"| {name} | {step} | {found[step]:.3f} |" for step in sorted({min(found), max(found)} if found else ())
        ]
    return lines if len(lines) > 4 else ["## Loss", "", "No loss was logged."]


def _figures(evaluations: list[HeldOut]) -> list[str]:
    lines = ["| step | states | mean reward | 95 % interval over tasks | groups with equal rewards |"]
    lines += ["|---|---|---|---|---|"]
    for found in evaluations[:1] + evaluations[1:][-1:]:
        mean, low, high = heldout.reward_interval(found)
        figures = (f"{mean:.3f}", f"{low:.3f} to {high:.3f}", f"{found.zero_variance_share:.0%}")
        lines.append(f"| {found.step} | {len(found.rewards)} | {' | '.join(figures)} |")
    return lines


def _cell(text: str) -> str:
    return inert(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
