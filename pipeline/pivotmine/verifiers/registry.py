"""The verifiers there are, and how a name and a table of options become one with an id of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers import python, recorded, search_query
from pivotmine.verifiers.composed import auto, combinators
from pivotmine.verifiers.edits import edit
from pivotmine.verifiers.llm_judge import llm_judge
from pivotmine.verifiers.maths import mathematics
from pivotmine.verifiers.published import gym_single_step, gym_terminus_string
from pivotmine.verifiers.shell import shell
from pivotmine.verifiers.sql import sql
from pivotmine.verifiers.terminals import terminal
from pivotmine.verifiers.texts import text
from pivotmine.verifiers.tool_calls import exact, tool_call, tool_name
from pivotmine.verifiers.tool_calls.call_diff import shown_text, unusable
from pivotmine.verifiers.verdict import Outcome, State, Verdict

Scorer = Callable[[Action], Verdict]
"""A verifier made ready for one state: what it needs of the demonstrations is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    prepare: Callable[[State, Action, Any], Scorer]
    """A judge from a state, one demonstration of a kind it handles, and the options. Pure. Hostile text may
    make it raise: `judging` turns every exception into a verdict."""
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

# To add one: a module of its own with an options dataclass and a `prepare`, and an entry here.
VERIFIERS: dict[str, Verifier] = {
    "all": Verifier(
        prepare=combinators.prepare_all,
        options=combinators.CombinatorOptions,
        version=1,
        kinds=ALL_KINDS,
        asks_all_members=True,
    ),
    "any": Verifier(prepare=combinators.prepare_any, options=combinators.CombinatorOptions, version=1, kinds=ALL_KINDS),
    "auto": Verifier(prepare=auto.prepare, options=auto.AutoOptions, version=1, kinds=ALL_KINDS),
    "edit": Verifier(
        prepare=edit.prepare,
        options=edit.EditOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
        needs_messages=True,
    ),
    "exact": Verifier(prepare=exact.prepare, options=exact.ExactOptions, version=1, kinds=frozenset({"tool_call"})),
    "first_decided": Verifier(
        prepare=combinators.prepare_first, options=combinators.CombinatorOptions, version=1, kinds=ALL_KINDS
    ),
    "gym_single_step": Verifier(
        prepare=gym_single_step.prepare,
        options=gym_single_step.GymSingleStepOptions,
        version=1,
        kinds=frozenset({"message", "tool_call"}),
        judges_all=True,
    ),
    "gym_terminus_string": Verifier(
        prepare=gym_terminus_string.prepare,
        options=gym_terminus_string.GymTerminusStringOptions,
        version=1,
        kinds=frozenset({"message"}),
        judges_all=True,
    ),
    "judge": Verifier(
        prepare=llm_judge.prepare,
        options=llm_judge.JudgeOptions,
        version=2,
        kinds=frozenset({"message", "tool_call"}),
        needs_messages=True,
        waits=True,
        check_server=llm_judge.check_server,
    ),
    "math": Verifier(
        prepare=mathematics.prepare,
        options=mathematics.MathOptions,
        version=1,
        kinds=frozenset({"message", "tool_call"}),
        requires=("math_verify",),
        extra="verifiers",
    ),
    "python": Verifier(
        prepare=python.prepare,
        options=python.PythonOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
    ),
    "recorded": Verifier(
        prepare=recorded.prepare,
        options=recorded.RecordedOptions,
        version=1,
        kinds=ALL_KINDS,
        judges_all=True,
    ),
    "search_query": Verifier(
        prepare=search_query.prepare,
        options=search_query.SearchQueryOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
    ),
    "shell": Verifier(
        prepare=shell.prepare,
        options=shell.ShellOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
        requires=("tree_sitter", "tree_sitter_bash"),
        extra="verifiers",
    ),
    "sql": Verifier(
        prepare=sql.prepare,
        options=sql.SqlOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
        needs_messages=True,
        requires=("sqlglot",),
        extra="verifiers",
    ),
    "terminal": Verifier(
        prepare=terminal.prepare,
        options=terminal.TerminalOptions,
        version=1,
        kinds=frozenset({"message"}),
        requires=("rapidfuzz",),
    ),
    "text": Verifier(
        prepare=text.prepare,
        options=text.TextOptions,
        version=2,
        kinds=frozenset({"message"}),
        needs_messages=True,
        requires=("rapidfuzz",),
    ),
    "tool_call": Verifier(
        prepare=tool_call.prepare,
        options=tool_call.ToolCallOptions,
        version=2,
        kinds=frozenset({"tool_call"}),
    ),
    "tool_name": Verifier(
        prepare=tool_name.prepare,
        options=tool_name.ToolNameOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
    ),
    "weighted": Verifier(
        prepare=combinators.prepare_weighted,
        options=combinators.WeightedOptions,
        version=1,
        kinds=ALL_KINDS,
        asks_all_members=True,
    ),
}


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """A verifier and its options, as a run's config names them: hashable, and quick to send to a worker."""

    name: str
    """A key of VERIFIERS, or `package.module:function`."""
    options: Any
    """An instance of that verifier's options dataclass."""

    @property
    def options_json(self) -> str:
        """All options, defaults included, as canonical JSON."""
        return strict_json.canonical(asdict(self.options))

    @property
    def verifier_id(self) -> str:
        """Name and 8 hex digits over name, version and options: equal where every verdict is."""
        members = (member.verifier_id for member in self.members)
        options = strict_json.canonical(_deciding(self.options))
        identity = "\n".join((self.name, str(find_verifier(self.name).version), options, *members))
        return f"{self.name.replace(':', '.')}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    @property
    def members(self) -> tuple[VerifierSpec, ...]:
        """The verifiers that this one is made of; none of most."""
        return tuple(getattr(self.options, "members", ()))

    @property
    def needs_messages(self) -> bool:
        """Whether it reads `State.messages`."""
        return find_verifier(self.name).needs_messages or any(member.needs_messages for member in self.members)

    @property
    def judges_all(self) -> bool:
        """Whether truncated, unreadable and empty actions come to it; to members they come by each one's own rule."""
        return bool(self.members) or find_verifier(self.name).judges_all

    @property
    def num_waiting(self) -> int:
        """How many of its judges are worth calling at once, from threads, since they wait; 0: none waits."""
        own = self.options.max_concurrency if find_verifier(self.name).waits else 0
        return max((own, *(member.num_waiting for member in self.members)))

    def check_server(self) -> None:
        """UserError where a server that it waits for gives no verdict: for who would rather know before he begins."""
        if (check := find_verifier(self.name).check_server) is not None:
            check(self.options)
        for member in self.members:
            member.check_server()

    def handles(self, kind: str) -> bool:
        """Whether turns of this kind can be verified; a turn that cannot is a reject, never a reward."""
        verifier = find_verifier(self.name)
        if not self.members:
            return kind in verifier.kinds
        return (all if verifier.asks_all_members else any)(member.handles(kind) for member in self.members)

    def judge(self, state: State, demonstration: Action) -> Scorer:
        """A judge of actions against one demonstration, of a kind that is handled; no exception leaves it."""
        try:
            compare = find_verifier(self.name).prepare(state, demonstration, self.options)
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


def _deciding(value: Any) -> Any:
    """Options as JSON values, at every level without those that change no verdict."""
    if is_dataclass(value):
        left_out = getattr(value, "machinery", frozenset[str]())
        return {f.name: _deciding(getattr(value, f.name)) for f in fields(value) if f.name not in left_out}
    return [_deciding(item) for item in value] if isinstance(value, tuple) else value


def _failure(error: Exception) -> Verdict:
    return Verdict(None, Outcome.ERROR, shown_text(f"{type(error).__name__}: {error}"))


def make_spec(name: str, options: Mapping[str, Any]) -> VerifierSpec:
    """A verifier by name, its options as TOML or `options_json` gives them; UserError that names what is allowed."""
    verifier = find_verifier(name)
    _require(name, verifier)
    kind = verifier.options
    return VerifierSpec(name, kind(**_read_fields(f"verifier {name}", kind, options)))


def _read_fields(what: str, kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    # Without `from __future__ import annotations` a plain type is itself, not its name.
    annotations = {f.name: f.type.__name__ if type(f.type) is type else str(f.type) for f in fields(kind)}
    values: dict[str, Any] = {}
    for option, value in given.items():
        if option not in annotations:
            allowed = ", ".join(sorted(annotations)) or "none"
            raise UserError(f'{what} has no option "{option}": its options are {allowed}')
        if annotations[option] not in _READERS:
            raise UserError(f"{what}, option {option}: {annotations[option]} is no type that an option can have")
        values[option] = _READERS[annotations[option]](f"{what}, option {option}", value)
    return values


def find_verifier(name: str) -> Verifier:
    """The verifier of a name; UserError where there is none."""
    if ":" in name:
        from pivotmine.verifiers.composed.third_party import load

        return load(name)
    if name not in VERIFIERS:
        raise UserError(f'no verifier "{name}": choose one of {", ".join(sorted(VERIFIERS))}')
    return VERIFIERS[name]


def _require(name: str, verifier: Verifier) -> None:
    missing = [module for module in verifier.requires if find_spec(module) is None]
    if missing:
        extra = verifier.extra
        package = f"pivotmine[{extra}]" if extra else "pivotmine"
        raise UserError(f'verifier {name} needs {", ".join(missing)}: pip install "{package}"')


def _of_type(kind: type, words: str) -> Callable[[str, Any], Any]:
    def read(where: str, value: Any) -> Any:
        given = float(value) if kind is float and type(value) is int else value
        if type(given) is not kind:
            raise UserError(f"{where}: must be {words}, is {value!r:.80}")
        return given

    return read


def _list_of(read: Callable[[str, Any], Any], words: str) -> Callable[[str, Any], tuple[Any, ...]]:
    def read_list(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: must be a list of {words}, is {value!r:.80}")
        return tuple(read(f"{where}[{i}]", item) for i, item in enumerate(value))

    return read_list


def _strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where}: must be a list of strings, is {value!r:.80}")
    return tuple(value)


def _spec(where: str, value: Any) -> VerifierSpec:
    if isinstance(value, VerifierSpec):
        return value
    if not isinstance(value, dict) or set(value) != {"name", "options"} or not isinstance(value["options"], dict):
        raise UserError(f"{where}: must be a verifier, {{name, options}}, is {value!r:.80}")
    return make_spec(str(value["name"]), value["options"])


def _rule(where: str, value: Any) -> auto.Rule:
    if isinstance(value, auto.Rule):
        return value
    if not isinstance(value, dict) or "verifier" not in value:
        raise UserError(f"{where}: must be a rule with a verifier, is {value!r:.80}")
    return auto.Rule(**_read_fields(where, auto.Rule, value))


# By the annotation of the option's field: TOML value to field value.
_READERS: dict[str, Callable[[str, Any], Any]] = {
    "VerifierSpec": _spec,
    "bool": _of_type(bool, "true or false"),
    "float": _of_type(float, "a number"),
    "int": _of_type(int, "a whole number"),
    "str": _of_type(str, "a string"),
    "tuple[Rule, ...]": _list_of(_rule, "rules"),
    "tuple[VerifierSpec, ...]": _list_of(_spec, "verifiers"),
    "tuple[float, ...]": _list_of(_of_type(float, "a number"), "numbers"),
    "tuple[str, ...]": _strings,
}
