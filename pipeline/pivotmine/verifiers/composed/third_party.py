"""Verifiers of somebody else's: `package.module:function`, imported by that name.

The function takes the state (messages included), one demonstration and one action, and answers with a `Verdict`, or
with a reward in [0, 1], or with None where it cannot tell, which is *unproven*. It is pure: the same three give the
same answer. Any other answer, NaN, and an exception are failures: a null reward, and a detail that names the type.

    def refund_reward(state: State, demonstration: Action, action: Action) -> float | None: ...

Its module's text is part of `verifier_id`, so that an edited function is another verifier; a whole number in
`function.version` stands in its place where there is one. Who wants options, or work done once a state, names a
`Verifier` by `package.module:NAME` instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from pivotmine.actions.action import Action
from pivotmine.errors import NotTrusted, UserError
from pivotmine.escape import public_address
from pivotmine.verifiers.base import ALL_KINDS, Outcome, Scorer, State, Verdict, Verifier, unproven

TRUSTED = "PIVOTMINE_TRUSTED_VERIFIERS"
"""Environment variable with the `package.module:function` verifiers that a file may have imported, by commas."""
_HERE = ("127.0.0.1", "::1", "localhost")
_loaded: set[str] = set()
"""What this process has imported already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """A function has none."""


def trust(*names: str) -> None:
    """Vouch for verifiers of other packages, in this process and those that it starts."""
    os.environ[TRUSTED] = ",".join(filter(None, (os.environ.get(TRUSTED), *names)))


def require_trusted(who: str, name: str, options: Any = None) -> None:
    """NotTrusted where a file names another package's code that nobody vouched for: it may be a stranger's.

    who: names it, for the message. options: as JSON or TOML gives them, where the verifier may be made of others.
    """
    trusted = {one.strip() for one in os.environ.get(TRUSTED, "").split(",")} | _loaded
    for foreign in (name, *_member_names(options)):
        if ":" in foreign and foreign not in trusted:
            raise NotTrusted(
                f"{who} asks for code of another package, {foreign!r}: where you trust it, name it by "
                f"--trust-verifier, or in the environment variable {TRUSTED} (several with commas between)"
            )


def require_trusted_servers(options: Any) -> None:
    """NotTrusted where a row's options name a server elsewhere that nobody vouched for.

    It would be sent trajectories, and the key that an option of the same row may name.
    """
    trusted = {one.strip() for one in os.environ.get(TRUSTED, "").split(",")}
    for address in _addresses(options):
        if urlsplit(address).hostname not in _HERE and address not in trusted:
            raise NotTrusted(
                f"the row asks a server, {public_address(address)}: where you trust it, name the address in the "
                f"environment variable {TRUSTED} (several with commas between)"
            )


def _addresses(options: Any) -> Iterator[str]:
    """The servers of a verifier and of those that it is made of."""
    if isinstance(options, dict) and isinstance(options.get("base_url"), str):
        yield options["base_url"]
    for value in options.values() if isinstance(options, dict) else options if isinstance(options, list) else ():
        yield from _addresses(value)


def _member_names(options: Any) -> Iterator[str]:
    """The names of all verifiers that a verifier is made of."""
    if isinstance(options, dict) and isinstance(options.get("name"), str):
        yield options["name"]
    for value in options.values() if isinstance(options, dict) else options if isinstance(options, list) else ():
        yield from _member_names(value)


@cache
def load(name: str) -> Verifier:
    """The verifier behind `package.module:function`; UserError where there is none.

    Importing runs the module: a name is as much to be trusted as a package that one installs.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise UserError(f'verifier "{name}": another package\'s verifier is written package.module:function')
    try:
        module = import_module(module_name)
    except Exception as error:  # somebody else's module may raise anything
        raise UserError(f'verifier "{name}": {module_name} cannot be imported: {error}') from None
    found = getattr(module, attribute, None)
    _loaded.add(name)
    if isinstance(found, Verifier):
        return replace(found, prepare=_Checked(found.prepare))
    if not callable(found):
        raise UserError(f'verifier "{name}": {module_name} has no function and no Verifier called {attribute}')
    return Verifier(
        prepare=partial(_prepare, found),
        options=NoOptions,
        version=_version(module, found),
        kinds=ALL_KINDS,
        abstains=True,
        needs_messages=True,
    )


def _version(module: ModuleType, function: Any) -> int:
    declared = getattr(function, "version", None)
    if isinstance(declared, int):
        return declared
    text = Path(module.__file__).read_bytes() if module.__file__ else b""
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


def _prepare(function: Callable[..., Any], state: State, demonstration: Action, options: NoOptions) -> Scorer:
    def judge(action: Action) -> Verdict:
        answer = function(state, demonstration, action)
        return _checked(answer) if isinstance(answer, Verdict) else _verdict(answer, demonstration, action)

    return judge


@dataclass(frozen=True, slots=True)
class _Checked:
    """The `prepare` of somebody else's `Verifier` with its answers checked. A class, so that two of them compare."""

    prepare: Callable[..., Any]

    def __call__(self, state: State, demonstration: Action, options: Any) -> Scorer:
        compare = self.prepare(state, demonstration, options)
        return lambda action: _checked(compare(action))


def _checked(answer: Any) -> Verdict:
    """A verdict whose fields have their types; TypeError that names the type of one that does not."""
    if not isinstance(answer, Verdict):
        raise TypeError(f"the verifier answered with {_article(answer)}, not with a Verdict")
    reward = None if answer.reward is None else _reward(answer.reward)
    outcome: Any = answer.outcome
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the outcome of a Verdict is {_article(outcome)}, not an Outcome")
    return Verdict(reward, outcome, str(answer.detail))


def _reward(answer: Any) -> float:
    # True is 1, and numpy's numbers are real numbers; a text that looks like a number is not one.
    if not isinstance(answer, Real):
        raise TypeError(f"the reward is {_article(answer)}, not a number in [0, 1] or None")
    return float(answer)


def _article(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _verdict(answer: Any, demonstration: Action, action: Action) -> Verdict:
    if answer is None:
        return unproven("the verifier could not tell")
    reward = _reward(answer)
    if reward == 1:
        return Verdict(1.0, Outcome.CORRECT)
    if reward != 0:
        return Verdict(reward, Outcome.PARTIAL)
    if action.kind != demonstration.kind:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a {action.kind}, demonstrated a {demonstration.kind}")
    return Verdict(0.0, Outcome.WRONG_ARGUMENTS if action.tool_calls else Outcome.WRONG_TEXT)
