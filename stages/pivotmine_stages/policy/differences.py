"""How policies or verifiers differ, in the names and values of their settings, never in hashes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pivotmine.errors import UserError

log = logging.getLogger("pivotmine")
Settings = Mapping[str, Any]
"""The fields of `policy.json` or `verifier.json`."""

ask: ContextVar[Callable[[], bool] | None] = ContextVar("ask", default=None)
"""Asks the user whether to continue; None if nobody is asked. The command line sets it in a terminal."""

_LABELS = {
    "engine": "engine",
    "adapter": "adapter",
    "seed": "seed",
    "verifier": "verifier",
    "parser": "parser",
    "sampling": "",
    "template_options": "template",
    "options": "",
}
"""Fields that are settings, with the prefix of their keys."""
_FILES = {"weights_hash": ("weights", "model"), "tokenizer_hash": ("tokenizer", "tokenizer")}
"""By hash: the word for what it hashes, and the field with its path."""
_MISSING = "not given"


def differences(theirs: Settings, ours: Settings) -> list[str]:
    """`max_new_tokens 64 -> 512`, one entry per different setting; options of different verifiers are left out."""
    other = _is_other_verifier(theirs, ours)
    old, new = (flat_settings({**one, "options": {}} if other else one) for one in (theirs, ours))
    found = [
        f"{key} {_word(old.get(key, _MISSING))} -> {_word(new.get(key, _MISSING))}"
        for key in {**old, **new}
        if old.get(key, _MISSING) != new.get(key, _MISSING)
    ]
    for field, (label, place) in _FILES.items():
        if theirs.get(field) != ours.get(field):
            one, other = theirs.get(place), ours.get(place)
            found.append(f"{label} {one} have changed" if one == other else f"{label} {one} -> {other}")
    if theirs.get("template_hash") != ours.get("template_hash"):
        found.append("another chat template")
    if theirs.get("weights_hash") is None is ours.get("weights_hash") and theirs.get("name") != ours.get("name"):
        found.append(f"name {theirs.get('name')} -> {ours.get('name')}")
    return found


def _is_other_verifier(theirs: Settings, ours: Settings) -> bool:
    return theirs.get("verifier") != ours.get("verifier")


def telling_apart(known: Mapping[str, Settings]) -> str:
    """`a (temperature 1.0), b (temperature 0.5)`: each with only the settings that differ."""
    flat = {
        name: {**flat_settings(one), **_budget(one), **{label: one.get(place) for label, place in _FILES.values()}}
        for name, one in known.items()
    }
    verifiers = {name: one.get("verifier") for name, one in known.items()}
    listed: list[str] = []
    for name, one in flat.items():
        alike = [other for label, other in flat.items() if verifiers[label] == verifiers[name]]
        which = [f"verifier {verifiers[name]}"] if len(alike) < len(flat) else []
        listed.append(", ".join([*which, *apart(one, alike)]))
    return ", ".join(f"{name} ({words or 'the same settings'})" for name, words in zip(flat, listed, strict=True))


def apart(one: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of `one` that are not the same in all of `among`."""
    keys = dict.fromkeys(key for other in among for key in other)
    apart = [key for key in keys if len({_word(other.get(key, _MISSING)) for other in among}) > 1]
    return [f"{key} {_word(one.get(key, _MISSING))}" for key in apart]


def _budget(record: Settings) -> dict[str, str]:
    """The token budget. It is not part of a policy, but an older version made one policy per budget."""
    return {"max_new_tokens": _word(record["budget"])} if record.get("budget") is not None else {}


def announce(what: str, ours: Settings, others: Mapping[str, tuple[Settings, str]]) -> None:
    """Log how a new policy or verifier differs from the most similar one of the run, and ask the user, if one is there.

    others: by id, the settings and the amount of data (`4,800 samples`). UserError if the user says no.
    """
    if not others:
        return
    compared = {name: differences(settings, ours) for name, (settings, _) in others.items()}
    nearest = min(compared, key=lambda name: (_is_other_verifier(others[name][0], ours), len(compared[name])))
    words = ", ".join(compared[nearest]) or "in nothing but its version"
    log.warning("new %s: %s, against %s, which has %s", what, words, nearest, others[nearest][1])
    if (asked := ask.get()) is not None and not asked():
        raise UserError(f"stopped: to continue with {nearest}, use its settings, and its --config if it has one")


def flat_settings(record: Settings) -> dict[str, str]:
    """Every setting by its path, such as `template.enable_thinking` and `tool_call.free_text`."""
    found: dict[str, list[str]] = {}
    for field, label in _LABELS.items():
        if field in record:
            for path, value in _leaves(record[field], (label,) if label else ()):
                found.setdefault(".".join(path), []).append(value)
    return {key: ", ".join(values) for key, values in found.items()}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every setting with its path. A verifier inside another one is named, instead of its place in the list."""
    if isinstance(value, Mapping) and set(value) == {"name", "options"}:
        yield (*path, "verifier"), str(value["name"])
        yield from _leaves(value["options"], (str(value["name"]),))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, path if key in ("verifier", "rules", "members") else (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, _word(value)


def _word(value: Any) -> str:
    if value is None:
        return _MISSING
    return value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)
