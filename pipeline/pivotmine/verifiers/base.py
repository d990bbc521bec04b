"""The types of verifiers: a verdict, a verifier's declaration, and a verifier together with its options.

A verifier's module ends with its `VERIFIER`, and `registry` lists them all. This module imports no verifier.
`answers` combines verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.run.outcomes import Outcome

MAX_SHOWN = 80
"""Maximum number of characters of a name, a path or a value in a detail."""
BY_KIND, ZERO, NULL = "by_kind", "zero", "null"
WORTHS = (BY_KIND, ZERO, NULL)
"""The values of `VerifierSpec.unproven`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    reward: float | None
    """In [0, 1]; null if the answer is unproven (outcome `unproven`) or the machinery failed (any other outcome)."""
    outcome: Outcome
    """Why."""
    detail: str = ""
    """One line for a person: which argument, which tool, which exception."""

    @property
    def is_unproven(self) -> bool:
        """Whether the verifier could show neither that the actions are the same nor that they differ."""
        return self.reward is None and self.outcome == Outcome.UNPROVEN


def unproven(detail: str = "") -> Verdict:
    """The answer of a verifier that can prove neither same nor different."""
    return Verdict(None, Outcome.UNPROVEN, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The part of a state that verifiers see. It is hostile text: compare it, never execute it."""

    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions in OpenAI form (`{"type": "function", "function": {"name", "parameters"}}`)."""
    messages: tuple[dict[str, Any], ...] = field(default=())
    """The messages before the turn; empty if the verifier does not need them (`needs_messages`)."""
    action_format: str | None = None
    """`native` or None; or the text convention of the turns, and then `tools` holds the tools that it implies."""


Scorer = Callable[[Action], Verdict]
"""Judges an action in one state. The work on the demonstrations is already done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    prepare: Callable[[State, Action, Any], Scorer]
    """Returns a scorer for a state, one demonstration of a kind that it handles, and the options. Pure. Hostile text
    may make it raise: `VerifierSpec.judge` turns every exception into a verdict."""
    options: type[Any]
    """A frozen dataclass in which every field has a default. It raises UserError for a value that makes no sense. A
    property `machinery`, if there is one, names the options that change no verdict. They are not part of the id."""
    version: int
    """Raise it when any verdict changes. Scores of two versions are never mixed."""
    kinds: frozenset[str]
    """The kinds of demonstration (`Action.kind`) that it can compare. A combination asks its members instead."""
    abstains: bool = False
    """Whether it may answer unproven. Then the option `unproven` of its spec is part of its id. A combination
    abstains if a member does."""
    reads_commands: bool = False
    """Whether a harness executes the messages that it judges: commands, queries or keystrokes."""
    judges_all: bool = False
    """Whether it also judges truncated, unreadable and empty actions, as published verifiers do. Other verifiers
    never see such actions."""
    needs_messages: bool = False
    """Whether it reads `State.messages`."""
    asks_all_members: bool = False
    """For a combination: whether all members must handle a kind, instead of any one member."""
    picks: Callable[[Any, Action], VerifierSpec | None] | None = None
    """For a combination that gives each demonstration to one member: returns that member."""
    waits: bool = False
    """Whether its scorers wait for a server. Then `options.max_concurrency` threads may call them at once. The
    scorers of every verifier are safe to call from several threads."""
    check_server: Callable[[Any], None] | None = None
    """Sends that server one request, with these options. Raises UserError if no verdict comes back."""
    requires: tuple[str, ...] = ()
    """Modules outside the standard library that it imports when it runs; checked before the first row."""
    extra: str = ""
    """The extra of pivotmine that installs these modules; empty if pivotmine itself does."""

    @property
    def missing_modules(self) -> list[str]:
        """The modules in `requires` that are not installed."""
        return [module for module in self.requires if find_spec(module) is None]


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
    unproven: str = BY_KIND
    """The worth of an unproven answer: `zero` (reward 0), `null` (no reward), or `by_kind`: `null` for messages,
    `zero` for calls and commands. Only the outermost verifier applies it; a member always has `by_kind`."""

    @property
    def is_default(self) -> bool:
        """Whether every option has its default, so that the name alone gives this spec."""
        return self.options == self.verifier.options()

    @property
    def options_json(self) -> str:
        """All options, defaults included, as canonical JSON; with `unproven` if it is set or the verifier abstains."""
        return strict_json.canonical(self._json(deciding_only=False))

    @property
    def verifier_id(self) -> str:
        """Name and 8 hex digits over name, version and options: equal ids give equal verdicts."""
        members = (member._member_id for member in self.members)
        options = strict_json.canonical(self._json(deciding_only=True))
        return _digest(self.name, self.verifier.version, options, members)

    @property
    def _member_id(self) -> str:
        """The id without `unproven`, which a member does not apply."""
        members = (member._member_id for member in self.members)
        options = strict_json.canonical(_as_json(self.options, deciding_only=True))
        return _digest(self.name, self.verifier.version, options, members)

    def _json(self, *, deciding_only: bool) -> dict[str, Any]:
        options = _as_json(self.options, deciding_only=deciding_only)
        return {**options, "unproven": self.unproven} if self.abstains or self.unproven != BY_KIND else options

    @property
    def members(self) -> tuple[VerifierSpec, ...]:
        """The verifiers that this one is made of; empty for most."""
        return tuple(getattr(self.options, "members", ()))

    @property
    def abstains(self) -> bool:
        """Whether an answer may be unproven."""
        return self.verifier.abstains or any(member.abstains for member in self.members)

    @property
    def needs_messages(self) -> bool:
        """Whether it reads `State.messages`."""
        return self.verifier.needs_messages or any(member.needs_messages for member in self.members)

    @property
    def judges_all(self) -> bool:
        """Whether it sees truncated, unreadable and empty actions. A combination does: each member decides itself."""
        return bool(self.members) or self.verifier.judges_all

    @property
    def judges_truncated(self) -> bool:
        """Whether a truncated action may earn a reward, because the verifier or a member judges such actions."""
        members = self.members
        return any(member.judges_truncated for member in members) if members else self.verifier.judges_all

    @property
    def num_waiting(self) -> int:
        """Maximum number of concurrent calls of its scorers if they wait for a server; 0 if they do not wait."""
        own = self.options.max_concurrency if self.verifier.waits else 0
        return max((own, *(member.num_waiting for member in self.members)))

    def check_server(self) -> None:
        """Raise UserError if a server that it needs gives no verdict. Call it before a long run."""
        if (check := self.verifier.check_server) is not None:
            check(self.options)
        for member in self.members:
            member.check_server()

    def handles(self, kind: str) -> bool:
        """Whether it can verify turns of this kind. Other turns are rejects and get no reward."""
        if not self.members:
            return kind in self.verifier.kinds
        return (all if self.verifier.asks_all_members else any)(member.handles(kind) for member in self.members)

    def is_command(self, demonstration: Action) -> bool:
        """Whether a harness executes the demonstration: it has calls, or its message is a command."""
        if demonstration.tool_calls:
            return True
        if self.verifier.picks is not None:
            picked = self.verifier.picks(self.options, demonstration)
            return picked is not None and picked.is_command(demonstration)
        return self.verifier.reads_commands or any(member.is_command(demonstration) for member in self.members)

    def judge(self, state: State, demonstration: Action) -> Scorer:
        """Return a scorer of actions against one demonstration of a kind that it handles. The scorer never raises.

        It drops the reward of an unproven answer, because `run_verifier` decides what that answer is worth.
        """
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
                if verdict.outcome == Outcome.UNPROVEN:
                    return unproven(verdict.detail)
                if verdict.reward is None or 0 <= verdict.reward <= 1:
                    return verdict
                raise ValueError(f"a reward of {verdict.reward} is not in [0, 1]")
            except Exception as error:
                return _failure(error)

        return guarded


def _digest(name: str, version: int, options: str, members: Iterable[str]) -> str:
    identity = "\n".join((name, str(version), options, *members))
    return f"{name.replace(':', '.')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _as_json(value: Any, *, deciding_only: bool) -> Any:
    """Options as JSON values. `deciding_only` leaves out, at every level, those that change no verdict."""
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
    """The verdict on a truncated, unreadable or empty action, which no verifier can accept; None for any other."""
    if action.truncated:
        return Verdict(0.0, Outcome.TRUNCATED)
    if action.unparsed:
        return Verdict(0.0, Outcome.INVALID_CALL, shown_text(action.unparsed[0].reason))
    if not action.tool_calls and not action.message:
        return Verdict(0.0, Outcome.EMPTY)
    return None


def shown_text(text: str) -> str:
    """Cut a text after MAX_SHOWN characters and escape unprintable ones: a lone surrogate cannot be written to a
    file."""
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
