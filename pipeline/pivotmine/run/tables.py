"""Every table of the run directory, a line per column: the contract between the stages, and with other readers.

`python -m pivotmine.run.tables > data/README.md` writes this module as prose, and a test compares the two.
JSON of varying shape is a string column. A struct would return its absent keys as nulls.

To add a column, write its line with `since=` and `absent=`, and raise FORMAT to that number. Parts of older runs lack
the column: readers find `absent` there. If `absent` is None, null must have no other meaning in that column.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa

from pivotmine.run.outcomes import Outcome

FORMAT = 4
"""Version of the tables and of the rules for ids that this code writes. Runs without `run.json` have format 1."""
STATISTICS: dict[str, Callable[[ModuleType], Any]] = {}
"""Columns of `profiles` that follow from a state's rows of `scores`: each gives the polars aggregate over them.

It is given the module polars, because processes that only write start faster without importing it.
"""
_STRING, _INT, _LONG, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()


def _column(
    name: str, kind: pa.DataType, doc: str, *, since: int = 1, absent: float | str | bool | None = None
) -> pa.Field:
    """`since`: the format that added the column; `absent`: its value in the parts of older runs."""
    return pa.field(name, kind, metadata={"doc": doc, "since": str(since), "absent": json.dumps(absent)})


def _statistic(
    name: str, kind: pa.DataType, doc: str, aggregate: Callable[[ModuleType], Any], **added: Any
) -> pa.Field:
    """A column of `profiles` with its aggregate over the state's scores; a count of nothing is 0."""
    STATISTICS[name] = aggregate
    return _column(name, kind, doc, **added)


def _bound_of_mean(pl: ModuleType, worth: int) -> Any:
    """The mean reward if each unproven sample were worth this much, over all samples but failures."""
    is_unproven = pl.col("outcome") == str(Outcome.UNPROVEN)
    decided, judged = pl.col("reward").filter(~is_unproven).sort(), pl.col("reward").is_not_null() | is_unproven
    return ((decided.sum() + worth * is_unproven.sum()) / judged.sum()).fill_nan(None)


def absent_value(column: pa.Field) -> float | str | bool | None:
    """What a part without this column means by it."""
    return json.loads(column.metadata[b"absent"])


def since(column: pa.Field) -> int:
    """The format that added the column."""
    return int(column.metadata[b"since"])


def _num_outcome(outcome: Outcome) -> pa.Field:
    return _statistic(
        f"num_{outcome}",
        _INT,
        f"samples with outcome `{outcome}`",
        lambda pl: (pl.col("outcome") == str(outcome)).sum(),
    )


TRAJECTORIES = pa.schema(
    [
        _column("trajectory_id", _STRING, "hash of the record's messages, tools, labels and metadata"),
        _column("source", _STRING, "path of the source, as given; a URL without user and query"),
        _column("source_index", _LONG, "record in the source, from 0; the line number less one in JSON lines"),
        _column("format", _STRING, "name of the reader"),
        _column("task_id", _STRING, "the source's task id; null: the source has none"),
        _column("domain", _STRING, "the source's or the command line's domain; null: neither gives one"),
        _column("outcome", _FLOAT, "the source's outcome label, higher is better; null: unlabelled"),
        _column("num_segments", _INT, "segments of the trajectory"),
        _column("num_turns", _INT, "turns of the trajectory"),
        _column("metadata", _STRING, "JSON object: what else the record holds; null: nothing else"),
    ]
)
SEGMENTS = pa.schema(
    [
        _column("segment_id", _STRING, "`<trajectory_id>/<segment_index>`"),
        _column("trajectory_id", _STRING, "trajectory of the segment"),
        _column("segment_index", _INT, "place in the trajectory, from 0"),
        _column("tools_id", _STRING, "tools offered in the segment; null: none"),
        _column(
            "action_format",
            _STRING,
            "`native` (tool calls and messages), or the text convention that the harness reads; "
            "runs written before this column hold no name, and their turns are read as native",
            since=2,
        ),
        _column("message_ids", pa.list_(_STRING), "the messages in order"),
    ]
)
MESSAGES = pa.schema(
    [
        _column("message_id", _STRING, "hash of the message, call ids and white space included"),
        _column("role", _STRING, "system, developer, user, assistant, tool or function"),
        _column("message", _STRING, "the message as the source has it: one JSON object"),
    ]
)
TOOLS = pa.schema(
    [
        _column("tools_id", _STRING, "hash of the tool definitions"),
        _column("tools", _STRING, "JSON list of tool definitions in OpenAI form"),
        _column("num_tools", _INT, "tools in the list"),
    ]
)
TURNS = pa.schema(
    [
        _column("turn_id", _STRING, "`<trajectory_id>:<turn_index>`"),
        _column("trajectory_id", _STRING, "trajectory of the turn"),
        _column("segment_id", _STRING, "segment of the turn"),
        _column("turn_index", _INT, "place among the trajectory's turns, from 0"),
        _column(
            "position",
            _INT,
            "index of the turn's message in the segment; the messages before it are the state",
        ),
        _column("state_id", _STRING, "hash of the state's content: call ids and outer white space do not count"),
        _column("tools_id", _STRING, "tools offered in the state; null: none"),
        _column("kind", _STRING, "`tool_call` or `message`"),
        _column("demonstration", _STRING, "the action taken, JSON (`pivotmine.actions`)"),
        _column("domain", _STRING, "domain of the trajectory; null: none"),
        _column("outcome", _FLOAT, "outcome label of the trajectory; null: unlabelled"),
        _column("reject_reason", _STRING, "why the turn demonstrates nothing; null: it is a demonstration"),
    ]
)
GATES = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier with its version and options"),
        _column("state_id", _STRING, "the state"),
        _column("gate", _STRING, "`correct`: a demonstration passes the verifier; else the first one's outcome, or `no_verifier`"),
        _column("detail", _STRING, "why the gate fails, in one line; null: it passes, or the outcome says it all"),
        _column("usable", pa.list_(_INT), "the demonstrations that pass: places among the state's distinct ones, from 0, in the order of the sources"),
    ]
)  # fmt: skip
ROLLOUTS = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was sampled"),
        _column("state_id", _STRING, "state it was sampled in"),
        _column("sample_index", _INT, "sample of the state, from 0"),
        _column("text", _STRING, "raw output, special tokens kept where the engine can, without the end-of-turn token"),
        _column("message", _STRING, "the assistant message as JSON where a chat server parsed it; null: raw text"),
        _column("token_ids", pa.list_(_INT), "sampled tokens, end of turn included; null: the server does not tell"),
        _column("logprobs", pa.list_(pa.float32()), "natural log-probability of each token; null: as above"),
        _column("finish_reason", _STRING, "`stop` (end of turn) or `length` (token budget)"),
        _column("num_tokens", _INT, "sampled tokens, end of turn included; null: the server does not tell"),
        _column("num_prompt_tokens", _INT, "tokens of the prompt; null: the server rendered it"),
        _column("num_cached_tokens", _INT, "prompt tokens from a prefix cache; null: the engine does not tell"),
        _column("opened_reasoning", _BOOL, "whether the prompt already opened a reasoning block"),
        _column("prompt_hash", _STRING, "hash of the prompt's token ids; null: the server rendered it"),
        _column("reward", _FLOAT, "the reward that came with recorded data, for the verifier `recorded`; null: none did"),
        _column("budget", _INT, "token budget that the sample was drawn under; rows without one have `first_budget` of `policy.json`, if any", since=3),
        _column("continues", _INT, "budget of the row of the same sample whose tokens this one begins with; rows drawn from the prompt have none", since=3),
    ]
)  # fmt: skip
SCORES = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was sampled"),
        _column("verifier_id", _STRING, "verifier with its version and options"),
        _column("state_id", _STRING, "state of the sample"),
        _column("sample_index", _INT, "sample of the state"),
        _column("outcome", _STRING, "why the reward is what it is (`pivotmine.verifiers.Outcome`)"),
        _column("reward", _FLOAT, "in [0, 1]; null: the machinery failed"),
        _column("detail", _STRING, "one line for a person; null: nothing to add"),
        _column("action", _STRING, "the sample as an action, JSON"),
        _column("budget", _INT, "as in `rollouts`: a sample has a row for each of its budgets", since=3),
    ]
)
PROFILES = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was sampled"),
        _column("verifier_id", _STRING, "verifier with its version and options"),
        _column("state_id", _STRING, "the state"),
        _column("gate", _STRING, "`correct`: a demonstration passes the verifier; else the first one's outcome, or `no_verifier`"),
        _column("budget", _INT, "token budget of the profile: a longer sample counts as truncated; profiles without one are of `first_budget`, as in `rollouts`", since=3),
        _column("num_samples", _INT, "samples drawn, the pending ones included"),
        _column("num_pending", _INT, "samples that a smaller budget cut and that `rollout` can continue; no statistic counts them", since=3, absent=0),
        # `sort`: the sum of floats depends on their order, and polars' order on the number of threads.
        _statistic("num_scored", _INT, "samples with a reward that is not null; 0 where the gate fails", lambda pl: pl.col("reward").count()),
        _statistic("mean", _FLOAT, "mean reward; null: nothing scored", lambda pl: pl.col("reward").sort().mean()),
        _statistic("variance", _FLOAT, "population variance of the reward (ddof=0); null: nothing scored", lambda pl: pl.col("reward").sort().var(ddof=0)),
        _statistic("min_reward", _FLOAT, "minimum reward; null: nothing scored", lambda pl: pl.col("reward").min()),
        _statistic("max_reward", _FLOAT, "maximum reward; null: nothing scored", lambda pl: pl.col("reward").max()),
        _statistic("mean_low", _FLOAT, "mean reward with each unproven sample as 0, over all samples but failures; null: nothing judged", lambda pl: _bound_of_mean(pl, 0), since=2, absent=-1.0),
        _statistic("mean_high", _FLOAT, "the same with each unproven sample as 1; null: as above", lambda pl: _bound_of_mean(pl, 1), since=2, absent=-1.0),
        _column("reward_class", _STRING, "`sometimes`: rewards differ by more than 1e-6; else `undecided` (some are null because unproven), `never` (all 0), `always` (all 1) or `constant`; null: nothing judged, or where actions are carried over, the few samples are alike and `num_samples` of `stopping` would probably differ"),
        *[_num_outcome(outcome) for outcome in Outcome],
        _column("stopping", _STRING, "JSON `{rule, num_samples, max_mean, min_scored}`: the rule that stopped the state before `num_samples` samples; null: it has them all, or no rule"),
        _column("posterior_alpha", _FLOAT, "the success rate's posterior is Beta(alpha, beta), by the samples with a reward; its prior is fitted on the run, or carried over (`carried`); null: nothing scored or carried"),
        _column("posterior_beta", _FLOAT, "as above"),
        _column("posterior_mean", _FLOAT, "its mean: the mean reward, drawn to that of like states as far as the samples leave it open; null: as above"),
        _column("posterior_low", _FLOAT, "its 5 % quantile; null: as above"),
        _column("posterior_high", _FLOAT, "its 95 % quantile; null: as above"),
        _column("solvable_probability", _FLOAT, "chance that the success rate is above 1 %, by its posterior; null: nothing scored", since=3, absent=-1.0),
        _column("pivot_probability", _FLOAT, "chance that a new profile would make it a pivot, by the samples with a reward, under the policy's last stopping rule (its `num_samples` and `max_mean`); null: as above, or no rule"),
        _column("carried_low", _FLOAT, "the mean reward is no smaller, by the actions stored of earlier policies (`carried`); states that nothing is carried to have none", since=3),
        _column("carried_high", _FLOAT, "and no greater", since=3),
        _column("unseen_mass", _FLOAT, "probability that the policy takes an action that is not among them", since=3),
    ]
)  # fmt: skip
CARRIED = pa.schema(
    [
        _column("policy_id", _STRING, "policy that the state is carried to"),
        _column("verifier_id", _STRING, "verifier of the rewards"),
        _column("state_id", _STRING, "the state"),
        _column("source", _STRING, "where the stored actions are from: the earlier policies' ids, and a hash of the trainer's completions"),
        _column("budget", _INT, "token budget that the policy was asked under: a longer action counts as truncated, and as in `profiles` each budget is for itself"),
        _column("num_actions", _INT, "distinct stored actions whose reward is known, the demonstration included"),
        _column("carried_low", _FLOAT, "sum of q r: probability under the policy times reward, over these"),
        _column("carried_high", _FLOAT, "1 - sum of q (1 - r)"),
        _column("unseen_mass", _FLOAT, "1 - sum of q"),
        _column("old_alpha", _FLOAT, "the first earlier policy's posterior is Beta(alpha, beta); null: it has none in this state"),
        _column("old_beta", _FLOAT, "as above"),
        _column("num_prefill_tokens", _INT, "tokens that were computed for the state; null: not asked"),
        _column("refusal", _STRING, "why nothing but the posterior is carried, the bounds being 0 and 1; null: the policy was asked"),
    ]
)  # fmt: skip
TRIAGE = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was asked"),
        _column("state_id", _STRING, "the state"),
        _column("turn_id", _STRING, "turn of the demonstration"),
        _column("logprob", _FLOAT, "natural log-probability of the demonstration, end of turn included; null: not asked"),
        _column("num_tokens", _INT, "its tokens; null: not asked"),
        _column("num_prefill_tokens", _INT, "tokens that were prefilled for it, those of earlier rows not again; null: not asked"),
        _column("refusal", _STRING, "why its probability bounds nothing; null: it does"),
    ]
)  # fmt: skip
REJECTS = pa.schema(
    [
        _column("stage", _STRING, "stage that dropped it"),
        _column("reason", _STRING, "one word, counted"),
        _column("source", _STRING, "path of the source; null: not known at this stage"),
        _column("source_index", _LONG, "record in the source, from 0; null: the file as a whole, or not known"),
        _column("trajectory_id", _STRING, "null: the record never became a trajectory, or several share the state"),
        _column("turn_id", _STRING, "null: not one turn"),
        _column("state_id", _STRING, "null: no state"),
        _column("num_turns", _INT, "turns lost with this row; null: unknown, since the record could not be read"),
        _column("detail", _STRING, "what exactly; null: the reason says it all"),
    ]
)
PIVOTS = pa.schema(
    [
        _column("prompt", _STRING, "the rendered prompt, tools and generation prompt included; tokenised by itself it gives `prompt_ids`"),
        _column("prompt_ids", pa.list_(_INT), "the prompt that was sampled from, token for token"),
        _column("prompt_messages", _STRING, "the state's messages: JSON list"),
        _column("tools", _STRING, "the state's tools: JSON list; null: none"),
        _column("demonstrations", _STRING, "JSON list of `{action, reply, turn_id}`; `reply`: the messages with which the recorded environment answered"),
        _column("state_id", _STRING, "the state"),
        _column("trajectory_id", _STRING, "trajectory of the first demonstration"),
        _column("turn_id", _STRING, "turn of the first demonstration"),
        _column("task_id", _STRING, "its task; null: the source has none"),
        _column("domain", _STRING, "its domain; null: none"),
        _column("kind", _STRING, "`tool_call` or `message`"),
        _column("verifier", _STRING, "verifier's name; null: none handles the turn (with `--strategy all`, and in `demonstrations`)"),
        _column("verifier_options", _STRING, "its options: JSON object; null: as above"),
        _column("verifier_id", _STRING, "name, version and options as one id; null: as above"),
        _column("scores_verifier_id", _STRING, "`verifier_id` of its scores and profile: another one where the verifier was chosen by rules; null: as above"),
        _column("parser", _STRING, "action parser's name; it reads completions of the action format `native`"),
        _column("action_format", _STRING, "`native`, or the text convention that alone reads completions; rows written before this column hold no name, and are read as native", since=2),
        _column("action_tools", _STRING, "JSON list of the tools that the text convention implies, for the verifier; the prompt does not show them; empty for `native`", since=2, absent="[]"),
        _column("opened_reasoning", _BOOL, "whether the prompt opened a reasoning block"),
        _column("turn_index", _INT, "place of the first demonstration among its trajectory's turns, from 0; older rows do not tell", since=3),
        _column("outcome", _FLOAT, "outcome label of the first demonstration's trajectory; rows with a `turn_index` and without an outcome are unlabelled", since=3),
        _column("weight", _FLOAT, "how often a trainer draws the row, relative to the others; rows without one have equal weights", since=3),
        _column("rewards", pa.list_(_FLOAT), "rewards of its samples in the order of their indices, null for a sample without a reward; empty: not profiled; older rows have no list", since=3),
        _column("lengths", pa.list_(_INT), "their sampled tokens, end of turn included, null where the server does not tell; empty: as above; older rows have no list", since=3),
        _column("num_distinct_actions", _INT, "different actions among them, as they are stored; 0: not profiled; older rows do not tell", since=3),
        _column("entropy", _FLOAT, "of the policy's actions in nats, estimated by the mean of -log p over its samples; rows without one were not profiled, have no stored log-probabilities, were sampled at another temperature than 1 or with top-p or top-k, or are older", since=4),
        _column("num_samples", _INT, "samples drawn; null: not profiled"),
        _column("num_scored", _INT, "samples scored; null: not profiled"),
        _column("mean", _FLOAT, "mean reward; null: not profiled or nothing scored"),
        _column("variance", _FLOAT, "population variance of the reward (ddof=0); null: as above"),
        _column("reward_class", _STRING, "as in `profiles`; null: as above"),
        _column("posterior_mean", _FLOAT, "as in `profiles`; null: as above"),
        _column("pivot_probability", _FLOAT, "chance that a new profile of as many samples as the most profiled state has would make it a pivot; null: as above"),
        _column("policy_id", _STRING, "policy that was profiled"),
        _column("sampling", _STRING, "its sampling parameters: JSON object"),
        _column("tokenizer", _STRING, "path or hub id of its tokenizer; null: a chat server rendered"),
        _column("template_options", _STRING, "options given to its chat template: JSON object"),
        _column("weights_hash", _STRING, "hash of its weights and adapter; null: they are behind a server"),
        _column("tokenizer_hash", _STRING, "hash of its tokenizer; null: a chat server rendered"),
        _column("template_hash", _STRING, "hash of its chat template; null: a chat server rendered"),
        _column("source", _STRING, "source of the first demonstration"),
        _column("source_index", _LONG, "record in that source, from 0"),
    ]
)  # fmt: skip

AUDIT_TRIALS = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier on trial"),
        _column("verifier", _STRING, "name of the verifier that judged: `auto` chooses one for each state"),
        _column("tool", _STRING, "tool of the demonstration's first call; `message` for messages"),
        _column("domain", _STRING, "domain of the state; null: none"),
        _column("trial", _STRING, "what was given: a mutation of the demonstration, or `other_states_action`: an action of another state with the same tool, written differently"),
        _column("must_pass", _BOOL, "whether it is still the demonstration, by construction; null: no label"),
        _column("num_tried", _INT, "actions given"),
        _column("num_accepted", _INT, "those with reward 1"),
        _column("num_unproven", _INT, "those without a reward because the verifier could not prove an answer"),
        _column("num_failed", _INT, "those without a reward because the machinery failed"),
    ]
)  # fmt: skip
AUDIT_ERRORS = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier on trial"),
        _column("verifier", _STRING, "name of the verifier that judged"),
        _column("state_id", _STRING, "the state"),
        _column("trial", _STRING, "as in `audit_trials`"),
        _column("error", _STRING, "`false_accept`, `false_reject`, or `paid_elsewhere`: an action of another state, written differently, is paid here"),
        _column("tool", _STRING, "as in `audit_trials`"),
        _column("domain", _STRING, "as in `audit_trials`"),
        _column("reward", _FLOAT, "what the action earned"),
        _column("detail", _STRING, "the verifier's word on it; null: none"),
        _column("demonstrated", _STRING, "the demonstration, JSON"),
        _column("given", _STRING, "the action, JSON"),
    ]
)  # fmt: skip
AUDIT_CONSTANTS = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier on trial"),
        _column("grouped_by", _STRING, "`tool` or `domain`"),
        _column("name", _STRING, "the tool (`message` for messages) or domain; null: no domain"),
        _column("action", _STRING, "the one action that earns most if it is given in every state of the group, JSON"),
        _column("mean_reward", _FLOAT, "what it earns in a state on average; no reward counts as 0"),
        _column("num_paid", _INT, "states in which it earns anything"),
        _column("num_states", _INT, "states of the group in which it was given"),
        _column("num_actions", _INT, "actions that were compared: distinct samples and demonstrations of the group"),
        _column("is_exact", _BOOL, "whether each was given in every state; else most were screened on a random sample"),
    ]
)  # fmt: skip

STATES = pa.schema(
    [
        _column("state_id", _STRING, "the state"),
        _column("num_turns", _INT, "turns taken in it"),
        _column("num_trajectories", _INT, "trajectories that met it"),
        _column("num_demonstrations", _INT, "turns among them that are demonstrations"),
        _column("turn_id", _STRING, "smallest turn_id taken in it; the columns below are that turn's"),
        _column("segment_id", _STRING, "its segment"),
        _column("position", _INT, "its position there: the state is the messages before it"),
        _column("tools_id", _STRING, "tools offered; null: none"),
        _column("domain", _STRING, "domain of its trajectory; null: none"),
        _column("demonstration", _STRING, "the action of its first demonstration, else of its first turn, JSON"),
    ]
)
TABLES: dict[str, pa.Schema] = {
    "trajectories": TRAJECTORIES,
    "segments": SEGMENTS,
    "messages": MESSAGES,
    "tools": TOOLS,
    "turns": TURNS,
    "gates": GATES,
    "rollouts": ROLLOUTS,
    "scores": SCORES,
    "profiles": PROFILES,
    "triage": TRIAGE,
    "carried": CARRIED,
    "pivots": PIVOTS,
    "demonstrations": PIVOTS,
    "rejects": REJECTS,
    "audit_trials": AUDIT_TRIALS,
    "audit_errors": AUDIT_ERRORS,
    "audit_constants": AUDIT_CONSTANTS,
}

_HEADER = """\
# The tables of a run

A run is a directory with everything mined from one set of trajectories. Each table is a set of Parquet files (zstd);
`pivotmine sql RUN "select ..."` and plain `duckdb -init RUN/views.sql` see each by its name, the empty ones too, and
the views `states` of `turns`, `last_rollouts` and `last_scores`. In these two a sample has one row, that of its largest
token budget. A column whose meaning does not speak of null is never null.

| table | where | written by |
|---|---|---|
| `trajectories`, `segments`, `messages`, `tools`, `turns` | a folder each | `extract` |
| `gates` | `gates/<verifier_id>.parquet`, a row for each state judged so far | `rollout`, `score`, `select`, `audit` |
| `rollouts` | `rollouts/<policy_id>/`, in parts, appended and never rewritten | `rollout`, `record` |
| `scores` | `scores/<policy_id>/<verifier_id>/`, a part for a part of `rollouts` | `score`, `record` (recorded rewards) |
| `profiles` | `scores/<policy_id>/<verifier_id>/profiles.parquet` | `score`, `record` |
| `triage` | `triage/<policy_id>/<verifier_id>/`, in parts | `run --adaptive ... --triage` |
| `carried` | `carried/<policy_id>/<verifier_id>/`, in parts; if a state and budget have several rows, the one with the smallest `unseen_mass` counts | `rollout --from` |
| `pivots` | `pivots/<name>/train.parquet` and `validation.parquet` | `select` |
| `demonstrations` | `pivots/<name>/demonstrations.parquet`, with the columns of `pivots` | `select` |
| `rejects` | `rejects/<stage>-<digest>/` | every stage |
| `audit_trials`, `audit_errors`, `audit_constants` | `audits/<verifier_id>/`, a file each: the last audit of the verifier; of each kind of error the first 200 | `audit` |

Next to them, `manifests/<stage>-<digest>.json` says with which configuration and versions, how many rows, how many
rejects and how long; `rollouts/<policy_id>/policy.json` what the policy is, `scores/<policy_id>/<verifier_id>/verifier.json`
what the verifier is, and `pivots/<name>/README.md` what was mined from what. `plans/<policy_id>/<verifier_id>/` holds
the plans of adaptive profiling, a folder a rule and a file a round. The views `pivots` and `demonstrations` have a column
more, `pivots_name`: the folder.

`parts` in `manifests/extract-*.json` and `manifests/parts-*.json` has the digest of every part by its path in the run:
the first 32 hexadecimal digits of its SHA-256. Two digests belong to a part that was being written, and `absent` is one
of them if there was no part before. `pivotmine verify RUN` compares the parts with their digests. This file is written
by `python -m pivotmine.run.tables`.
"""


def readme() -> str:
    """The text of `data/README.md`: one section a table, one line a column."""
    sections = [_section(name, schema) for name, schema in TABLES.items() if name != "demonstrations"]
    return "\n".join([_HEADER, *sections, _section("states (a view, a row a state)", STATES)])


def _section(title: str, schema: pa.Schema) -> str:
    rows = [f"| `{f.name}` | {_type_name(f.type)} | {f.metadata[b'doc'].decode()}{_added(f)} |" for f in schema]
    return "\n".join([f"## {title}", "", "| column | type | meaning |", "|---|---|---|", *rows, ""])


def _added(column: pa.Field) -> str:
    """What a column that came later means in runs of before."""
    if since(column) == 1:
        return ""
    absent = absent_value(column)
    return f"; since format {since(column)}, {'null' if absent is None else f'`{absent}`'} in older parts"


def _type_name(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if isinstance(kind, pa.ListType) else str(kind)


if __name__ == "__main__":
    print(readme(), end="")  # noqa: T201
