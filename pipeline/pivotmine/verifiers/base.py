"""What a verifier is: its answers, its declaration, and a verifier together with its options.

A verifier's module ends with its `VERIFIER`; `registry` names them. This module imports none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.run.outcomes import Outcome

MAX_SHOWN = 80
"""Characters of a name, a path or a value that a detail shows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    reward: float | None
    """In [0, 1]; null where the machinery failed."""
    outcome: Outcome
    """Why."""
    detail: str = ""
    """One line for a person: which argument, which tool, which exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a verifier may know of the state: hostile text, to be compared and never executed."""

    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions in OpenAI form (`{"type": "function", "function": {"name", "parameters"}}`)."""
    messages: tuple[dict[str, Any], ...] = field(default=())
    """The messages before the turn; empty where the verifier does not ask for them."""
    action_format: str | None = None
    """`native` or None, or the text convention of the state's turns; then `tools` are the ones it implies."""


Scorer = Callable[[Action], Verdict]
"""A verifier made ready for one state: what it needs of the demonstrations is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    prepare: Callable[[State, Action, Any], Scorer]
    """A judge from a state, one demonstration of a kind it handles, and the options. Pure. Hostile text may
    make it raise: `VerifierSpec.judge` turns every exception into a verdict."""
    options: type[Any]
    """A frozen dataclass, every field with a default; a value that makes no sense is a UserError. Its property
    `machinery`, where it has one, names the options that change no verdict: they are no part of the verifier's id."""
    version: int
    """Raised by whoever changes any verdict: scores of two versions are never mixed."""
    kinds: frozenset[str]
    """The kinds of demonstration (`Action.kind`) it can compare with; of one made of others, those that they can."""
    judges_all: bool = False
    """Whether it judges truncated, unreadable and empty actions itself, as published verifiers do that know no
    such outcome; elsewhere these never come to a verifier."""
    needs_messages: bool = False
    """Whether it reads `State.messages`."""
    asks_all_members: bool = False
    """Of a verifier made of others: whether it handles only the kinds that all of them handle, not any of them."""
    waits: bool = False
    """Whether its judges wait for a server: then they are worth calling from `options.max_concurrency` threads at
    once. They are safe to be called so; as `prepare` gives them, all judges are."""
    check_server: Callable[[Any], None] | None = None
    """Asks that server once, with these options; UserError where it gives no verdict."""
    requires: tuple[str, ...] = ()
    """Modules outside the standard library that it imports inside itself; asked for before the first row."""
    extra: str = ""
    """The extra of pivotmine that installs them; empty: they come with pivotmine itself."""


ALL_KINDS = frozenset({"tool_call", "message"})


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """A verifier and its options, as a run's config names them. Hashable and picklable."""

    name: str
    """A key of VERIFIERS, or `package.module:function`."""
    options: Any
    """An instance of that verifier's options dataclass."""
    verifier: Verifier
    """The verifier itself."""

    @property
    def options_json(self) -> str:
        """All options, defaults included, as canonical JSON."""
        return strict_json.canonical(_as_json(self.options, deciding_only=False))

    @property
    def verifier_id(self) -> str:
        """Name and 8 hex digits over name, version and options: equal where every verdict is."""
        members = (member.verifier_id for member in self.members)
        options = strict_json.canonical(_as_json(self.options, deciding_only=True))
        identity = "\n".join((self.name, str(self.verifier.version), options, *members))
        return f"{self.name.replace(':', '.')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @property
    def members(self) -> tuple[VerifierSpec, ...]:
        """The verifiers that this one is made of; none of most."""
        return tuple(getattr(self.options, "members", ()))

    @property
    def needs_messages(self) -> bool:
        """Whether it reads `State.messages`."""
        return self.verifier.needs_messages or any(member.needs_messages for member in self.members)

    @property
    def judges_all(self) -> bool:
        """Whether truncated, unreadable and empty actions come to it; to members they come by each one's own rule."""
        return bool(self.members) or self.verifier.judges_all

    @property
    def num_waiting(self) -> int:
        """How many of its judges are worth calling at once, from threads, since they wait; 0: none waits."""
        own = self.options.max_concurrency if self.verifier.waits else 0
        return max((own, *(member.num_waiting for member in self.members)))

    def check_server(self) -> None:
        """UserError where a server that it waits for gives no verdict: for who would rather know before he begins."""
        if (check := self.verifier.check_server) is not None:
            check(self.options)
        for member in self.members:
            member.check_server()

    def handles(self, kind: str) -> bool:
        """Whether turns of this kind can be verified; a turn that cannot is a reject, never a reward."""
        if not self.members:
            return kind in self.verifier.kinds
        return (all if self.verifier.asks_all_members else any)(member.handles(kind) for member in self.members)

    def judge(self, state: State, demonstration: Action) -> Scorer:
        """A judge of actions against one demonstration, of a kind that is handled; no exception leaves it."""
        try:
            compare = self.verifier.prepare(state, demonstration, self.options)
        except Exception as error:
            failure = _failure(error)
            compare = lambda action: failure  # noqa: E731
        judges_all = self.judges_all

        def guarded(action: Action) -> Verdict:
            if not judges_all and (verdict := unusable(action)):
                return verdict
            try:
                verdict = compare(action)
                if verdict.reward is None or 0 <= verdict.reward <= 1:
                    return verdict
                raise ValueError(f"a reward of {verdict.reward} is not in [0, 1]")
            except Exception as error:
                return _failure(error)

        return guarded


def _as_json(value: Any, *, deciding_only: bool) -> Any:
    """Options as JSON values; with `deciding_only`, at every level without those that change no verdict."""
    if isinstance(value, VerifierSpec):
        return {"name": value.name, "options": _as_json(value.options, deciding_only=deciding_only)}
    if is_dataclass(value):
        left_out = getattr(value, "machinery", frozenset[str]()) if deciding_only else frozenset[str]()
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in left_out}
        return {name: _as_json(item, deciding_only=deciding_only) for name, item in given.items()}
    return [_as_json(item, deciding_only=deciding_only) for item in value] if isinstance(value, tuple) else value


def _failure(error: Exception) -> Verdict:
    return Verdict(None, Outcome.ERROR, shown_text(f"{type(error).__name__}: {error}"))


def default_spec(name: str, verifier: Verifier) -> VerifierSpec:
    """The verifier with the default of every option."""
    return VerifierSpec(name, verifier.options(), verifier)


def unusable(action: Action) -> Verdict | None:
    """The verdict on an action that is whole in no verifier's eyes: truncated, not to be read, or empty."""
    if action.truncated:
        return Verdict(0.0, Outcome.TRUNCATED)
    if action.unparsed:
        return Verdict(0.0, Outcome.INVALID_CALL, shown_text(action.unparsed[0].reason))
    if not action.tool_calls and not action.message:
        return Verdict(0.0, Outcome.EMPTY)
    return None


def shown_text(text: str) -> str:
    """Like `shown`, for words. A lone surrogate, too, would break every file it is written to."""
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
