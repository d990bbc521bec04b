"""triage: the policy's probability of every demonstration, from one prefill of each segment.

If the policy samples a rewarded demonstration with probability q, its mean reward is at least q. So with q >= max_mean
a state is not a pivot, and needs no sample. This has three conditions, and each is checked:
- Samples come from the model's own distribution (temperature 1, top-p 1, no top-k).
- The tokens are those that the policy would write, end of turn included.
- The parser reads the rendered demonstration as an action with reward 1.

A state that fails a check gets a row with its `refusal`. The turns of a segment share their prefixes. If the template
only appends, the last turn's tokens contain those of all turns, and one forward pass gives every log-probability.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.actions import parse_action
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.run import rundir, sql
from pivotmine.run.parts import PartsManifest, require_sound
from pivotmine.run.states import StateMessages, state_messages
from pivotmine.sampling.settings import Prefilled, Sampling
from pivotmine.verifiers import VerifierSpec, prepare
from pivotmine_stages.engines import ENGINES, engine_spec
from pivotmine_stages.policy.prompts import REASONING_OPENERS, Prompt
from pivotmine_stages.policy.session import PolicySession
from pivotmine_stages.profiles.gate import Gate
from pivotmine_stages.rollout.part_writer import PartWriter, Rows

STATES_PER_PART = 4096
SECONDS_PER_PART = 30.0
SEQUENCES_PER_BATCH = 32
_REASONING = ("reasoning", "reasoning_content", "thinking")


class Asked(NamedTuple):
    """A demonstration within a sequence."""

    state_id: str
    turn_id: str
    start: int
    """Index of its first token in the sequence."""
    end: int
    """Index after its end of turn."""


@dataclass(slots=True)
class Chain:
    """A sequence that is prefilled once, with the demonstrations in it, in order."""

    token_ids: list[int] = field(default_factory=list[int])
    asked: list[Asked] = field(default_factory=list[Asked])


def triage(
    run: Path, policy: PolicySession, spec: VerifierSpec, states: pl.DataFrame, gates: dict[str, Gate]
) -> dict[str, Any]:
    """Write the missing rows of `triage` for these states (their first demonstrated turns); returns counts.

    UserError if the policy's samples are not drawn from its own distribution, or if it reasons before it acts.
    """
    check(policy)
    started = time.monotonic()
    folder = run / "triage" / policy.record.policy_id / spec.verifier_id
    known = rundir.scan(run, "triage", require_sound(run, "triage", folder)).select("state_id").collect()
    missing = states.join(known, on="state_id", how="anti", maintain_order="left")
    counts = Counter[str]()
    if not missing.is_empty():
        work = _Work(run, folder, policy, gates)
        with work.parts:
            for state in track(state_messages(run, missing), "triage", "states", len(missing)):
                work.add(state)
            work.finish()
        counts = work.counts
    sql.write_views(run)
    return {**counts, "seconds": round(time.monotonic() - started, 2)}


def check(policy: PolicySession) -> None:
    """Raise UserError if the probabilities of demonstrations would bound nothing."""
    if problem := no_probabilities(policy):
        raise UserError(f"--triage needs {problem}")


def no_probabilities(policy: PolicySession) -> str | None:
    """What the policy lacks for a prefill to give an action's probability, in one line; None if nothing."""
    sampling = policy.options.sampling
    if not engine_spec(policy.engine_name).can_prefill or policy.renderer is None:
        names = " or ".join(name for name, spec in ENGINES.items() if spec.can_prefill)
        return f"--engine {names}: {policy.engine_name} gives no log-probabilities of a prompt"
    if sampling != Sampling(max_new_tokens=sampling.max_new_tokens):
        return "samples of the model's own distribution (--temperature 1, --top-p 1, --top-k 0)"
    return None


def prompt_of(policy: PolicySession, state: StateMessages) -> Prompt | None:
    """The state's prompt; None if the template refuses it."""
    assert policy.renderer is not None
    try:
        return policy.renderer.render(state.messages, state.tools)
    except UserError:
        raise
    except Exception:  # a foreign template may raise anything
        return None


def demonstrated(
    policy: PolicySession, state: StateMessages, prompt: Prompt | None, gate: Gate, max_model_len: int | None
) -> list[int] | str:
    """Prompt and demonstration in tokens, end of turn included; or the refusal."""
    assert policy.renderer is not None
    tokenizer = policy.renderer.tokenizer
    message = {key: value for key, value in state.message.items() if key not in _REASONING}
    token_ids: list[int] = []
    try:
        token_ids = policy.renderer.render_turn([*state.messages, message], state.tools)
    except UserError:
        raise
    except Exception:  # a foreign template may raise anything
        prompt = None
    if prompt is None:
        return "template_error"
    start = len(prompt.token_ids)
    if prompt.opened_reasoning:
        return "reasoning"
    if token_ids[:start] != prompt.token_ids or tokenizer.eos_token_id not in token_ids[start:]:
        return "not_appended"
    end = token_ids.index(tokenizer.eos_token_id, start) + 1
    # A demonstration over the token budget is not refused: its row serves larger budgets too (`demonstration_masses`).
    if max_model_len is not None and end >= max_model_len:
        return "too_long"
    is_rewarded = rewarder(policy, gate, state.messages)(token_ids[start : end - 1]) == 1
    return token_ids[:end] if is_rewarded else "not_rewarded"


def rewarder(
    policy: PolicySession, gate: Gate, messages: list[dict[str, Any]], *, opened_reasoning: bool = False
) -> Callable[[list[int]], float | None]:
    """A function that gives the verifier's reward for an action, from its tokens without the end of turn."""
    assert policy.renderer is not None
    assert gate.verifier is not None, "a state that fails its gate"
    tokenizer, state = policy.renderer.tokenizer, gate.state
    seen = replace(state, messages=tuple(messages)) if gate.verifier.needs_messages else state
    judge = prepare(gate.verifier, seen, list(gate.usable.values()))

    def reward(token_ids: list[int]) -> float | None:
        action = parse_action(
            tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            parser=policy.record.parser,
            action_format=state.action_format,
            opened_reasoning=opened_reasoning,
            truncated=False,
            tools=state.tools,
        )
        return judge(action).reward

    return reward


class _Work:
    """The work of one start: the growing sequence, those that wait for the engine, and rows to write."""

    def __init__(self, run: Path, folder: Path, policy: PolicySession, gates: dict[str, Gate]) -> None:
        assert policy.renderer is not None
        self.folder, self.policy, self.gates = folder, policy, gates
        self.engine = policy.engine(0)
        self.manifest = PartsManifest(run, folder)
        self.chain, self.waiting = Chain(), list[Chain]()
        self.parts = PartWriter(self.write, num_rows=STATES_PER_PART, seconds=SECONDS_PER_PART)
        self.counts = Counter[str]()
        self.openers = _single_tokens(policy.renderer.tokenizer, REASONING_OPENERS)
        self.reasoned = self.seen = 0

    def add(self, state: StateMessages) -> None:
        """Append a state's demonstration to the segment's sequence, or write a row with its refusal."""
        gate = self.gates[state.turn["state_id"]]
        prompt = prompt_of(self.policy, state)
        token_ids = demonstrated(self.policy, state, prompt, gate, self.engine.max_model_len)
        if prompt is None or isinstance(token_ids, str):
            self._row(state.turn["state_id"], state.turn["turn_id"], refusal=token_ids)
            return
        start = len(prompt.token_ids)
        if token_ids[: len(self.chain.token_ids)] != self.chain.token_ids:
            self._flush_chain()
        self.chain.token_ids = token_ids
        self.chain.asked.append(Asked(state.turn["state_id"], state.turn["turn_id"], start, len(token_ids)))

    def _flush_chain(self) -> None:
        if self.chain.asked:
            self.waiting.append(self.chain)
        self.chain = Chain()
        if len(self.waiting) >= SEQUENCES_PER_BATCH * self.policy.options.num_replicas:
            self._prefill()

    def _prefill(self) -> None:
        waiting, self.waiting = self.waiting, []
        prefilled = self.engine.prefill([chain.token_ids for chain in waiting]) if waiting else ()
        answered = list(zip(waiting, prefilled, strict=True))
        for chain, answer in answered:
            self.seen += len(chain.asked)
            self.reasoned += sum(answer.likeliest[asked.start - 1] in self.openers for asked in chain.asked)
        # Checked before rows are written: a later start would skip those states and not notice.
        if self.reasoned > self.seen / 2:
            raise UserError(
                "--triage: the policy reasons before it acts, so no demonstration is likely; leave --triage out"
            )
        for chain, answer in answered:
            for row in rows_of(chain, answer):
                self._row(**row)

    def _row(self, state_id: str, turn_id: str, **columns: Any) -> None:
        row = {"policy_id": self.policy.record.policy_id, "state_id": state_id, "turn_id": turn_id, **columns}
        self.parts.add([row])
        self.counts.update(
            refused=columns.get("refusal") is not None, prefill_tokens=columns.get("num_prefill_tokens") or 0, states=1
        )

    def write(self, rows: Rows) -> None:
        """Write a part."""
        number = len(list(self.folder.glob("part-*.parquet")))
        self.manifest.write(self.folder / f"part-{number:06d}.parquet", rundir.table_of_rows("triage", rows))

    def finish(self) -> None:
        """Prefill the sequences that are left."""
        self._flush_chain()
        self._prefill()


def rows_of(chain: Chain, prefilled: Prefilled) -> Iterator[dict[str, Any]]:
    """One row per demonstration, with its summed log-probability.

    Each token of the sequence counts as prefilled once.
    """
    counted = 0
    for asked in chain.asked:
        # The first token has no log-probability, so that of token t is at t - 1.
        logprobs = prefilled.logprobs[asked.start - 1 : asked.end - 1]
        yield {
            "state_id": asked.state_id,
            "turn_id": asked.turn_id,
            "logprob": sum(logprobs),
            "num_tokens": asked.end - asked.start,
            "num_prefill_tokens": asked.end - counted,
        }
        counted = asked.end


def _single_tokens(tokenizer: Any, texts: Iterable[str]) -> set[int]:
    """The ids of the texts that are a single token."""
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return {ids[0] for ids in encoded if len(ids) == 1}
