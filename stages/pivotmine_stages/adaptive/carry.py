"""carry: estimate a new policy from stored actions of earlier ones, with one prefill of a state's distinct actions.

`stats.carry_bounds` has the mathematics. The stored actions of a state (from policies of the run, from the trainer's
`completions`, and its demonstration) form a tree behind its prompt. Their exact probabilities bound the new mean
reward. As in triage, this needs token ids and samples of the model's own distribution. If a prefill gives no
probabilities, only the posterior is carried, with a warning. Actions of another tokenizer or parser are other actions.
They are left out, with a warning.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.progress import track
from pivotmine.run import rundir, sql
from pivotmine.run.parts import PartsManifest, require_sound
from pivotmine.run.states import StateMessages, state_messages
from pivotmine.sampling.settings import TokenTree, TreeLogprobs
from pivotmine.sources.sources import content_hash
from pivotmine.stats.carry_bounds import Bounds, Reward, Stored, bounds, exclusive_events
from pivotmine_stages.adaptive.triage import demonstrated, no_probabilities, prompt_of, rewarder
from pivotmine_stages.engines.options import end_of_turn_ids
from pivotmine_stages.policy.record import PolicyRecord, choose_policy, remember_policy, scored_verifiers
from pivotmine_stages.policy.session import PolicySession
from pivotmine_stages.profiles.carry_decay import carried_dir
from pivotmine_stages.profiles.gate import Gate
from pivotmine_stages.rollout.missing import in_prefix_order
from pivotmine_stages.rollout.part_writer import PartWriter, Rows

log = logging.getLogger("pivotmine")
STATES_PER_PART = 4096
SECONDS_PER_PART = 30.0
TREES_PER_BATCH = 32
STATES_PER_READ = 2048
"""States whose stored actions are in memory at once."""


class Sources(NamedTuple):
    """The sources of the stored actions."""

    policies: tuple[PolicyRecord, ...]
    """The posterior is that of the first one."""
    completions: tuple[Path, ...]
    """Parquet files of the trainer."""

    @property
    def name(self) -> str:
        """The policies' ids and a hash of the completions. If it changes, states are carried again."""
        parts = [record.policy_id for record in self.policies]
        if self.completions:
            parts.append("completions-" + rundir.config_digest({"files": [content_hash(p) for p in self.completions]}))
        return "+".join(parts)


def find_sources(run: Path, policies: Sequence[str], folders: Sequence[Path], policy: PolicySession) -> Sources:
    """The named policies, and the files in the folders; UserError if one does not exist."""
    records = tuple(choose_policy(run, name) for name in policies)
    if own := next((one for one in records if one.policy_id == policy.record.policy_id), None):
        raise UserError(f"--from {own.policy_id} is the policy that --model names: name an earlier one")
    files: list[Path] = []
    for folder in folders:
        found = sorted(folder.glob("*.parquet"))
        if not found:
            raise UserError(
                f"--completions {folder}: no Parquet files there; name OUTPUT_DIR/completions of a training"
            )
        files += found
    return Sources(records, tuple(files))


def carry(
    run: Path, policy: PolicySession, verifier_id: str, states: pl.DataFrame, gates: dict[str, Gate], sources: Sources
) -> dict[str, Any]:
    """Write the missing rows of `carried` for these states (their first demonstrated turns); returns counts."""
    started = time.monotonic()
    folder = carried_dir(run, policy.record.policy_id, verifier_id)
    known = rundir.scan(run, "carried", require_sound(run, "carried", folder))
    budget = policy.options.sampling.max_new_tokens
    known = known.filter((pl.col("source") == sources.name) & (pl.col("budget") == budget)).select("state_id").collect()
    missing = states.join(known, on="state_id", how="anti", maintain_order="left")
    counts = Counter[str]()
    if not missing.is_empty():
        work = _Work(run, folder, policy, verifier_id, gates, sources)
        remember_policy(run, policy.record)
        with work.parts:
            for state in track(work.states(in_prefix_order(run, missing)), "carry", "states", len(missing)):
                work.add(state)
            work.prefill()
        sql.write_views(run)
        counts = work.counts
    return {**counts, "seconds": round(time.monotonic() - started, 2)}


class _Action(NamedTuple):
    """A stored action. Only the token ids of the trainer's completions are trusted; their other fields are None."""

    token_ids: list[int]
    has_ended: bool | None = None
    reward: float | None = None
    opened_reasoning: bool | None = None


class _WaitingState(NamedTuple):
    """A state that waits for the engine."""

    state_id: str
    tree: TokenTree
    rewards: list[Reward]
    """One per branch."""


class _Work:
    """The work of one start: states that wait for the engine, and rows to write."""

    def __init__(
        self,
        run: Path,
        folder: Path,
        policy: PolicySession,
        verifier_id: str,
        gates: dict[str, Gate],
        sources: Sources,
    ) -> None:
        self.run, self.folder, self.policy, self.verifier_id, self.gates = run, folder, policy, verifier_id, gates
        self.sources, self.source = sources, sources.name
        self.waiting, self.counts = list[_WaitingState](), Counter[str]()
        self.manifest = PartsManifest(run, folder)
        self.parts = PartWriter(self.write, num_rows=STATES_PER_PART, seconds=SECONDS_PER_PART)
        # All of them, so that one without scores fails here. Its actions would bound nothing, and not be read again.
        self.old, *_ = [_posteriors(run, one.policy_id, verifier_id) for one in sources.policies]
        self.stored: dict[str, list[_Action]] = {}
        self.problem = no_probabilities(policy)
        self.readable = () if self.problem else tuple(one for one in sources.policies if self._is_readable(one))
        if self.problem:
            log.warning("--from carries only the posteriors: bounds need %s", self.problem)
        else:
            assert policy.renderer is not None
            drawn = _rollouts(run, policy.record.policy_id).select(pl.len()).collect().item()
            self.engine = policy.engine(drawn)
            self.end_ids = end_of_turn_ids(policy.options, policy.renderer.tokenizer)

    def _is_readable(self, earlier: PolicyRecord) -> bool:
        ours, parser = self.policy.record, _parser(self.run, earlier, self.verifier_id)
        reasons = {
            "it has another tokenizer": earlier.tokenizer_hash != ours.tokenizer_hash,
            f"its actions were parsed as {parser}, not {ours.parser}": parser != ours.parser,
            "its samples have no token ids": not _rollouts(self.run, earlier.policy_id)
            .select(pl.col("token_ids").is_not_null().any())
            .collect()
            .item(),
        }
        if reason := next((words for words, holds in reasons.items() if holds), None):
            log.warning("--from %s carries only its posteriors: %s", earlier.policy_id, reason)
        return reason is None

    def states(self, turns: pl.DataFrame) -> Iterator[StateMessages]:
        """The states with their messages. `stored` has the stored actions of the current block."""
        for block in turns.iter_slices(STATES_PER_READ):
            self.stored = {} if self.problem else self._stored(block["state_id"])
            yield from state_messages(self.run, block)

    def _stored(self, state_ids: pl.Series) -> dict[str, list[_Action]]:
        found: dict[str, list[_Action]] = {}
        wanted = pl.col("state_id").is_in(state_ids.implode())
        for earlier in self.readable:
            for state_id, *action in _rewarded(self.run, earlier.policy_id, self.verifier_id, wanted).iter_rows():
                found.setdefault(state_id, []).append(_Action(*action))
        for path in self.sources.completions:
            for state_id, token_ids in _completions(path, wanted).iter_rows():
                found.setdefault(state_id, []).append(_Action(token_ids))
        return found

    def add(self, state: StateMessages) -> None:
        """Let a state wait for the engine, or write its row with the refusal."""
        found = "no_probabilities" if self.problem else self._prepared(state)
        if isinstance(found, str):
            self._row(state.turn["state_id"], Bounds(), refusal=found)
            return
        self.waiting.append(found)
        if len(self.waiting) >= TREES_PER_BATCH * self.policy.options.num_replicas:
            self.prefill()

    def _prepared(self, state: StateMessages) -> _WaitingState | str:
        """The state's prompt and distinct actions, or the refusal."""
        assert self.policy.renderer is not None
        state_id, limit = state.turn["state_id"], self.engine.max_model_len
        gate, budget = self.gates[state_id], self.policy.options.sampling.max_new_tokens
        prompt = prompt_of(self.policy, state)
        if prompt is None:
            return "template_error"
        if limit is not None and len(prompt.token_ids) + budget > limit:
            return "prompt_too_long"
        judge = rewarder(self.policy, gate, state.messages, opened_reasoning=prompt.opened_reasoning)
        size = len(self.policy.renderer.tokenizer)
        stored: list[Stored] = []
        for action in self.stored.get(state_id, ()):
            ids, ended, reward = action.token_ids, action.has_ended, action.reward
            if action.opened_reasoning not in (None, prompt.opened_reasoning) or not all(0 <= i < size for i in ids):
                continue
            if ended is None and (ended := bool(ids) and ids[-1] in self.end_ids):
                reward = judge(ids[:-1])
            stored.append(Stored(ids, ended, reward))
        whole = demonstrated(self.policy, state, prompt, gate, limit)
        if not isinstance(whole, str):
            stored.append(Stored(whole[len(prompt.token_ids) :], has_ended=True, reward=1.0))
        judges_truncated = gate.verifier is not None and gate.verifier.judges_truncated
        events = exclusive_events(stored, budget, self.end_ids, judges_truncated=judges_truncated)
        tree = TokenTree(prompt.token_ids, [list(ids) for ids in events])
        return _WaitingState(state_id, tree, list(events.values()))

    def prefill(self) -> None:
        """Prefill the states that wait, and write their rows."""
        waiting, self.waiting = self.waiting, []
        answers = self.engine.prefill_trees([state.tree for state in waiting]) if waiting else []
        for state, answer in zip(waiting, answers, strict=True):
            self._answer(state, answer)

    def _answer(self, state: _WaitingState, answer: TreeLogprobs) -> None:
        masses = [math.exp(min(sum(logprobs), 0.0)) for logprobs in answer.logprobs]
        facts = {"num_actions": len(masses), "num_prefill_tokens": answer.num_computed}
        if any(map(math.isnan, masses)):
            self._row(state.state_id, Bounds(), refusal="not_a_number", **facts)
        else:
            self._row(state.state_id, bounds(zip(masses, state.rewards, strict=True)), **facts)

    def _row(self, state_id: str, found: Bounds, **columns: Any) -> None:
        old = self.old.get(state_id)
        row = {
            "policy_id": self.policy.record.policy_id,
            "verifier_id": self.verifier_id,
            "state_id": state_id,
            "source": self.source,
            "budget": self.policy.options.sampling.max_new_tokens,
            "num_actions": 0,
            "carried_low": found.low,
            "carried_high": found.high,
            "unseen_mass": found.unseen,
            "old_alpha": old and old[0],
            "old_beta": old and old[1],
            **columns,
        }
        self.parts.add([row])
        self.counts.update(
            states=1,
            actions=columns.get("num_actions", 0),
            refused=columns.get("refusal") is not None,
            prefill_tokens=columns.get("num_prefill_tokens") or 0,
        )

    def write(self, rows: Rows) -> None:
        """Write a part."""
        number = len(list(self.folder.glob("part-*.parquet")))
        self.manifest.write(self.folder / f"part-{number:06d}.parquet", rundir.table_of_rows("carried", rows))


def _rollouts(run: Path, policy_id: str) -> pl.LazyFrame:
    return rundir.scan(run, "rollouts", require_sound(run, "rollouts", run / "rollouts" / policy_id))


def _parser(run: Path, earlier: PolicyRecord, verifier_id: str) -> str:
    """The parser with which the policy's samples were scored."""
    return scored_verifiers(run, earlier.policy_id).get(verifier_id, {}).get("parser") or earlier.parser


def _posteriors(run: Path, policy_id: str, verifier_id: str) -> dict[str, tuple[float, float]]:
    """By state_id, alpha and beta of a policy's posterior; UserError if it was not scored."""
    path = run / "scores" / policy_id / verifier_id / "profiles.parquet"
    if not path.exists():
        raise UserError(
            f"--from {policy_id} has no profiles by {verifier_id}: score it first with the same --verifier and --config"
        )
    rows = rundir.scan(run, "profiles", [path]).drop_nulls(["posterior_alpha", "posterior_beta"])
    found = rows.select("state_id", "posterior_alpha", "posterior_beta").collect()
    return {state_id: (a, b) for state_id, a, b in found.iter_rows()}


def _rewarded(run: Path, policy_id: str, verifier_id: str, wanted: pl.Expr) -> pl.DataFrame:
    """The stored samples with token ids in these states: `state_id`, then the fields of `_Action`."""
    key = ("state_id", "sample_index", "budget")
    rollouts = _rollouts(run, policy_id).filter(wanted & pl.col("token_ids").is_not_null())
    parts = sorted((run / "scores" / policy_id / verifier_id).glob("part-*.parquet"))
    scores = rundir.scan(run, "scores", parts)
    joined = rollouts.join(scores.select(*key, earned="reward"), on=key, how="left", nulls_equal=True)
    return joined.select(
        "state_id", "token_ids", pl.col("finish_reason") == "stop", "earned", "opened_reasoning"
    ).collect()


def _completions(path: Path, wanted: pl.Expr) -> pl.DataFrame:
    """`state_id` and `completion_ids` of the trainer's samples in these states; UserError for another file."""
    problem = f"--completions: {path} is not a file of the trainer's completions"
    ids = pl.col("completion_ids")
    try:
        rows = pl.scan_parquet(path, glob=False)
        kinds = rows.collect_schema()
        found = kinds.get("completion_ids")
        if kinds.get("state_id") != pl.String or not isinstance(found, pl.List) or not found.inner.is_integer():
            raise UserError(f"{problem}: it has no text `state_id` and no lists of integers `completion_ids`")
        rows = rows.select("state_id", ids.cast(pl.List(pl.Int64))).drop_nulls()
        is_whole = (ids.list.len() > 0) & (ids.list.drop_nulls().list.len() == ids.list.len())
        return rows.filter(wanted & is_whole).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{problem}: {one_line(str(error))[:200]}") from None
