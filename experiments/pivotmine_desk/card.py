"""The card of data/desk: `python -m pivotmine_desk.card --data data/desk`.

Reads figures.json (`measure`) and sft.json (`sft_check`) in the data directory and writes its README.md. It compares
each requirement on the world and its policy with the measured value, and marks missed ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HEAD = """# The desk: data and base policy

A small simulated service desk (orders, travel, files, search), a teacher's trajectories in it, and a base policy of
{parameters:,} parameters. On two CPU cores, it shows states that are never, sometimes and always solved. The commands
at the end make all of it from `experiments/pivotmine_desk/`; the last one writes this page.

| file | contents |
|---|---|
| `trajectories.jsonl` | {trajectories} trajectories of the teacher, {good} with outcome 1: `task_id`, \
`domain`, `outcome`, `tools`, `messages` (OpenAI form) |
| `policy/` | a Qwen3 in bfloat16, its BPE tokenizer of {vocabulary} tokens, its chat template (Hermes calls \
in ChatML) |
| `figures.json`, `sft.json` | the figures below |

Names and ids are split by a hash of their text. The policy was pre-trained on `pretrain` (70 %), the trajectories are
from `train` (10 %), settings are chosen on `validation` (10 %), and every figure is on `test` (10 %). No person,
company, town, file or id of one split occurs in another. Items, statuses and tool names are common to all.

The verifier `tool_call` compares calls, with `free_text = ["*.reason", "*.note"]`.
"""

COMMANDS = """
## Commands

```
export PYTHONPATH=experiments:pipeline:stages:trainer
python -m pivotmine_desk.teacher --out data/desk/trajectories.jsonl
python -m pivotmine_desk.make_tokenizer --out WORK/tokenizer
python -m pivotmine_desk.pretrain --tokenizer WORK/tokenizer --work WORK --out data/desk/policy
python -m pivotmine_desk.measure --policy data/desk/policy --figures data/desk/figures.json
python -m pivotmine_desk.sft_check --policy data/desk/policy --work WORK/sft --out data/desk/sft.json
python -m pivotmine_desk.card --data data/desk
```
"""


def requirements(figures: dict[str, Any], sft: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, required, measured, whether it is met) of each requirement."""
    classes, skills = figures["classes"], figures["skills"]
    lead = classes["turn_alone"] - classes["majority"]
    worst = min(skills, key=lambda name: skills[name])
    success = figures["success"]["all"]
    return [
        ("mixed states", "20 to 40 %", _percent(classes["mixed"]), 0.2 <= classes["mixed"] <= 0.4),
        ("states never solved", "15 % or more", _percent(classes["never"]), classes["never"] >= 0.15),
        ("states always solved", "15 % or more", _percent(classes["always"]), classes["always"] >= 0.15),
        (
            "accuracy of guessing the class by the turn number, above that of the majority class",
            "at most 10 points",
            _points(lead),
            lead <= 0.1,
        ),
        ("success in episodes", "20 to 50 %", _percent(success), 0.2 <= success <= 0.5),
        (f"worst general skill ({worst})", "90 % or more", _percent(skills[worst]), skills[worst] >= 0.9),
        (
            "SFT: gain in success at the best setting",
            "10 points or more",
            _points(sft["gain"]),
            sft["gain"] >= 0.1,
        ),
        ("SFT: loss of general skills", "3 points or more", _points(sft["cost"]), sft["cost"] >= 0.03),
    ]


def card(figures: dict[str, Any], sft: dict[str, Any], about: dict[str, Any]) -> str:
    """The page as Markdown. figures, sft: the two JSON files. about: from the function `about`."""
    rows = requirements(figures, sft)
    parts = [
        HEAD.format(**about),
        *([f"\n{figures['note']}\n"] if figures["note"] else []),
        "\n## Required and measured\n",
        f"{figures['states']} teacher states, K = 16, {figures['episodes']} episodes and "
        f"{figures['questions']} questions of each skill, all at temperature 1; seed {figures['seed']}.\n",
        _table(["", "required", "measured", ""], [[a, b, c, "met" if d else "**missed**"] for a, b, c, d in rows]),
        "\n## By domain\n",
        _domains(figures),
        "\n## General skills\n",
        _table(
            ["skill", "temperature 1", "greedy"],
            [[k, _percent(v), _percent(figures["skills_greedy"][k])] for k, v in figures["skills"].items()],
        ),
        "\n## SFT on the teacher's trajectories\n",
        f"Trained on the successful ones of {sft['trajectories']} trajectories; measured greedily on {sft['episodes']} "
        f"episodes and {sft['questions']} questions of each skill. Each setting is tried with seed 0. The best one on "
        "`validation` is trained with every seed. Gain and loss are the means of these on `test`.\n",
        _settings(sft),
        _seeds(sft),
        *([sft["note"] + "\n"] if sft.get("note") else []),
        COMMANDS,
    ]
    return "\n".join(parts)


def _domains(figures: dict[str, Any]) -> str:
    rows = {"all": figures["classes"], **figures["domains"]}
    cells = [
        [
            name,
            *(_percent(row[key]) for key in ("never", "mixed", "always", "functional", "strict")),
            _percent(figures["success"][name]),
            _percent(figures["success_greedy"][name]),
        ]
        for name, row in rows.items()
    ]
    head = ["domain", "never", "mixed", "always", "mean reward", "by `exact`", "success", "greedy"]
    return _table(head, cells)


def _settings(sft: dict[str, Any]) -> str:
    rows = [
        [
            f"lr {row['lr']:g}, {row['epochs']} epochs{', best' if i == sft['best'] else ''}",
            _percent(row["success"]),
            _percent(row["skills"]),
        ]
        for i, row in enumerate(sft["settings"])
    ]
    return _table(["setting", "success (validation)", "skills"], rows)


def _seeds(sft: dict[str, Any]) -> str:
    rows = {"base": sft["base"], **{f"best setting, seed {i}": row for i, row in enumerate(sft["seeds"])}}
    cells = [[name, _percent(row["success"]), _percent(row["skills"])] for name, row in rows.items()]
    return _table(["", "success (test)", "skills"], cells)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def about(data: Path) -> dict[str, Any]:
    """Counts of the data directory, for the card's head."""
    outcomes = [json.loads(line)["outcome"] for line in (data / "trajectories.jsonl").read_text().splitlines()]
    header = (data / "policy" / "model.safetensors").read_bytes()
    tensors = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    sizes = [t["data_offsets"] for name, t in tensors.items() if name != "__metadata__"]
    vocabulary = json.loads((data / "policy" / "config.json").read_text())["vocab_size"]
    return {
        "parameters": sum(end - begin for begin, end in sizes) // 2,  # bfloat16: two bytes each
        "trajectories": len(outcomes),
        "good": sum(outcomes),
        "vocabulary": vocabulary,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    figures = json.loads((data / "figures.json").read_text())
    sft = json.loads((data / "sft.json").read_text())
    (data / "README.md").write_text(card(figures, sft, about(data)), encoding="utf-8")


if __name__ == "__main__":
    main()
