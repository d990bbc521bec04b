"""Options declared once: what is read from a declaration, and which values it allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.options import Option, build, declared, nearest, problem


def _pair(text: str) -> tuple[int, int]:
    left, _, right = text.partition("/")
    if not left.isdecimal():
        raise ValueError("i/n, for example 0/4")
    return int(left), int(right)


@dataclass(frozen=True, kw_only=True)
class Inner:
    model: Annotated[str, Option(panel="Policy")]
    """Folder of
    the model."""
    num_stored: Annotated[int, Option(is_set=False)] = 0
    extras: Annotated[Mapping[str, Any], Option(metavar="JSON")] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    num_samples: Annotated[int, Option(min=1, max=8)] = 4
    """Samples per state."""
    share: Annotated[float, Option(above=0, below=1)] = 0.5
    limit: Annotated[int | None, Option(flag="max_rows", was="limit", min=0)] = None
    api: Annotated[Literal["chat", "completions"], Option()] = "chat"
    shard: Annotated[tuple[int, int], Option(read=_pair)] = (0, 1)
    urls: Annotated[tuple[str, ...], Option(flag="url")] = ()
    plan: Annotated[Path | None, Option()] = None
    engine: Annotated[str | None, Option(choices=lambda: ["vllm", "ray"])] = None
    dry: Annotated[bool, Option()] = False


def test_the_declaration_is_read_from_the_fields() -> None:
    found = {one.name: one for one in declared(Outer)}
    assert list(found) == [
        *("model", "extras", "num_samples", "share", "max_rows", "api", "shard", "url", "plan", "engine", "dry")
    ]
    assert (found["model"].help, found["model"].option.panel, found["model"].default) == (
        "Folder of the model.",
        "Policy",
        MISSING,
    )
    assert (found["num_samples"].type, found["num_samples"].default, found["num_samples"].flag) == (
        int,
        4,
        "--num-samples",
    )
    assert (found["url"].type, found["url"].is_list, found["plan"].type, found["extras"].type) == (
        str,
        True,
        Path,
        dict,
    )
    assert (found["api"].words(), found["engine"].words()) == (("chat", "completions"), ("vllm", "ray"))


def test_values_become_the_dataclass_and_what_is_left_out_has_its_default() -> None:
    assert build(Outer, {"model": "m"}) == Outer(inner=Inner(model="m"))
    given = {"model": "m", "share": 0.25, "limit": 3, "shard": "2/4", "url": ["a", "b"], "plan": "p.csv", "dry": True}
    assert build(Outer, {**given, "extras": '{"a": 1}', "engine": None}) == Outer(
        inner=Inner(model="m", extras={"a": 1}),
        share=0.25,
        limit=3,
        shard=(2, 4),
        urls=("a", "b"),
        plan=Path("p.csv"),
        dry=True,
    )
    assert build(Outer, {"model": Path("folder")}).inner.model == "folder"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--model is missing: Folder of the model."),
        ({"modl": "m"}, "no option 'modl'; there are api, dry, engine, extras, max_rows, model, num_samples, plan, "
         "shard, share, url; did you mean model?"),
        ({"num_samples": 9}, "--num-samples 9: in [1, 8]"),
        ({"num_samples": 2.5}, "--num-samples 2.5: must be a whole number"),
        ({"num_samples": True}, "--num-samples True: must be a whole number"),
        ({"share": 1}, "--share 1.0: in (0, 1)"),
        ({"share": float("nan")}, "--share nan: in (0, 1)"),
        ({"share": 10**400}, f"--share {10**400}: too large a number"),
        ({"limit": -1}, "--max-rows -1: at least 0"),
        ({"api": "chats"}, "--api chats: choose from chat, completions; did you mean chat?"),
        ({"engine": "vlm"}, "--engine vlm: choose from vllm, ray; did you mean vllm?"),
        ({"shard": "x"}, "--shard x: i/n, for example 0/4"),
        ({"extras": "[1]"}, '--extras [1]: a JSON object, for example {"enable_thinking": false}'),
        ({"dry": 1}, "--dry 1: must be true or false"),
        ({"plan": 3}, "--plan 3: must be a path"),
    ],
)  # fmt: skip
def test_what_the_declaration_does_not_allow_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        build(Outer, given if given in ({}, {"modl": "m"}) else {"model": "m", **given})
    assert str(raised.value) == message


@given(st.integers() | st.floats())
def test_a_value_is_built_where_it_is_in_range(value: float) -> None:
    whole = isinstance(value, int) and 1 <= value <= 8
    try:
        assert build(Outer, {"model": "m", "num_samples": value}).num_samples == value
        assert whole
    except UserError:
        assert not whole


def test_a_dataclass_made_in_python_is_checked_by_the_same_declaration() -> None:
    assert problem(Outer(inner=Inner(model="m"))) is None
    assert problem(Outer(inner=Inner(model="m"), share=2.0)) == "--share 2.0: in (0, 1)"
    assert problem(Outer(inner=Inner(model="m"), limit=-1)) == "--max-rows -1: at least 0"


def test_the_nearest_name_is_given_only_where_one_is_near() -> None:
    assert nearest("num_sample", ["num_samples", "seed"]) == "; did you mean num_samples?"
    assert nearest("zzz", ["num_samples", "seed"]) == ""
