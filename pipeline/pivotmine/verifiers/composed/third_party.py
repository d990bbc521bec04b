"""Verifiers of other packages: `package.module:function`, imported by that name.

The function takes the state (messages included), one demonstration and one action. It returns a `Verdict`, a reward
in [0, 1], or None if it cannot tell (unproven). It must be pure: the same arguments give the same answer. Any other
answer, NaN and an exception are failures: the reward is null, and the detail names the type.

    def refund_reward(state: State, demonstration: Action, action: Action) -> float | None: ...

The text of its module is part of `verifier_id`: an edited function is another verifier. A whole number in
`function.version` replaces the text there. For options, or for work that is done once per state, name a `Verifier`
(`package.module:NAME`) instead of a function.
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
"""Environment variable with what files may name, comma-separated: verifiers, and addresses of judges' servers."""
_HERE = ("127.0.0.1", "::1", "localhost")
_loaded: set[str] = set()
"""Verifiers that this process has already imported, and therefore trusts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """A function has no options."""


def trust(*names: str) -> None:
    """Trust verifiers of other packages, in this process and in the processes that it starts."""
    os.environ[TRUSTED] = ",".join(filter(None, (os.environ.get(TRUSTED), *names)))


def require_trusted(who: str, name: str, options: Any = None) -> None:
    """Raise NotTrusted if a file names another package's code that the user does not trust.

    who: what names the code, for the message. options: JSON or TOML values, in which members are looked for.
    """
    trusted = {one.strip() for one in os.environ.get(TRUSTED, "").split(",")} | _loaded
    for foreign in (name, *_member_names(options)):
        if ":" in foreign and foreign not in trusted:
            raise NotTrusted(
                f"{who} asks for code of another package, {foreign!r}: if you trust it, name it with "
                f"--trust-verifier or in the environment variable {TRUSTED} (comma-separated)"
            )


def require_trusted_servers(options: Any) -> None:
    """Raise NotTrusted if a row's options name a server on another machine that the user does not trust.

    That server would get trajectories, and the key that another option of the row may name.
    """
    trusted = {one.strip() for one in os.environ.get(TRUSTED, "").split(",")}
    for address in _addresses(options):
        if urlsplit(address).hostname not in _HERE and address not in trusted:
            raise NotTrusted(
                f"the row asks a server, {public_address(address)}: if you trust it, name the address in the "
                f"environment variable {TRUSTED} (comma-separated)"
            )


def _addresses(options: Any) -> Iterator[str]:
    """The addresses of all servers that a verifier's options name, members included."""
    if isinstance(options, dict) and isinstance(options.get("base_url"), str):
        yield options["base_url"]
    for value in options.values() if isinstance(options, dict) else options if isinstance(options, list) else ():
        yield from _addresses(value)


def _member_names(options: Any) -> Iterator[str]:
    """The names of all members in a verifier's options."""
    if isinstance(options, dict) and isinstance(options.get("name"), str):
        yield options["name"]
    for value in options.values() if isinstance(options, dict) else options if isinstance(options, list) else ():
        yield from _member_names(value)


@cache
def load(name: str) -> Verifier:
    """Import the verifier `package.module:function`. Raise UserError if there is none.

    Importing runs the module: load a name only if you would install its package.
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
    """The `prepare` of another package's `Verifier`, with its answers checked. A class, so that two can be equal."""

    prepare: Callable[..., Any]

    def __call__(self, state: State, demonstration: Action, options: Any) -> Scorer:
        compare = self.prepare(state, demonstration, options)
        return lambda action: _checked(compare(action))


def _checked(answer: Any) -> Verdict:
    """The verdict, if its fields have the right types. Else raise TypeError that names the wrong type."""
    if not isinstance(answer, Verdict):
        raise TypeError(f"the verifier answered with {_article(answer)}, not with a Verdict")
    reward = None if answer.reward is None else _reward(answer.reward)
    outcome: Any = answer.outcome
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the outcome of a Verdict is {_article(outcome)}, not an Outcome")
    return Verdict(reward, outcome, str(answer.detail))


def _reward(answer: Any) -> float:
    # True is accepted as 1, and so are numpy's numbers. A text that looks like a number is not.
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
