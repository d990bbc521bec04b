"""Every table of the run directory, one line per column: the contract between the stages and with other readers.

`python -m pivotmine.run.tables > data/README.md` writes this module as prose, and a test compares the two. JSON of
varying shape is a string column. A struct would return its absent keys as nulls.

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
"""Columns of `profiles` that follow from a state's rows of `scores`, each with a function that makes the polars
aggregate. It takes the module polars, because processes that only write start faster without importing it."""
_STRING, _INT, _LONG, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()


def _column(
    name: str, kind: pa.DataType, doc: str, *, since: int = 1, absent: float | str | bool | None = None
) -> pa.Field:
    """`since`: the format that added the column; `absent`: its value in the parts of older runs."""
    return pa.field(name, kind, metadata={"doc": doc, "since": str(since), "absent": json.dumps(absent)})


def _statistic(
    name: str, kind: pa.DataType, doc: str, aggregate: Callable[[ModuleType], Any], **added: Any
) -> pa.Field:
    """A column of `profiles` with its aggregate over the state's scores; without scores, integers are 0."""
    STATISTICS[name] = aggregate
    return _column(name, kind, doc, **added)


def _bound_of_mean(pl: ModuleType, worth: int) -> Any:
    """The mean reward if each unproven sample earned `worth`, over all samples except failures."""
    is_unproven = pl.col("outcome") == str(Outcome.UNPROVEN)
    decided, judged = pl.col("reward").filter(~is_unproven).sort(), pl.col("reward").is_not_null() | is_unproven
    return ((decided.sum() + worth * is_unproven.sum()) / judged.sum()).fill_nan(None)


def absent_value(column: pa.Field) -> float | str | bool | None:
    """The value of this column in a part that does not have it."""
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
        _column("metadata", _STRING, "JSON object with the record's other fields; null: no others"),
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
            "turns of older runs are native",
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
        _column("usable", pa.list_(_INT), "indices of the demonstrations that pass, from 0, among the state's distinct ones in the order of the sources"),
    ]
)  # fmt: skip
ROLLOUTS = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was sampled"),
        _column("state_id", _STRING, "state that it was sampled in"),
        _column("sample_index", _INT, "sample of the state, from 0"),
        _column("text", _STRING, "raw output, special tokens kept where the engine can, without the end-of-turn token"),
        _column("message", _STRING, "the assistant message as JSON if a chat server parsed it; null: raw text"),
        _column("token_ids", pa.list_(_INT), "sampled tokens, end of turn included; null: the server does not return them"),
        _column("logprobs", pa.list_(pa.float32()), "natural log-probability of each token; null: as above"),
        _column("finish_reason", _STRING, "`stop` (end of turn) or `length` (token budget)"),
        _column("num_tokens", _INT, "sampled tokens, end of turn included; null: the server does not tell"),
        _column("num_prompt_tokens", _INT, "tokens of the prompt; null: the server rendered it"),
        _column("num_cached_tokens", _INT, "prompt tokens from a prefix cache; null: the engine does not report them"),
        _column("opened_reasoning", _BOOL, "whether the prompt already opened a reasoning block"),
        _column("prompt_hash", _STRING, "hash of the prompt's token ids; null: the server rendered it"),
        _column("reward", _FLOAT, "the reward in recorded data, for the verifier `recorded`; null: it has none"),
        _column("budget", _INT, "token budget of the sample; rows without one have `first_budget` of `policy.json`, if known", since=3),
        _column("continues", _INT, "budget of the earlier row of the same sample that this row continues; rows sampled from the prompt have none", since=3),
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
        _column("budget", _INT, "token budget of the profile: a longer sample counts as truncated; profiles without one have `first_budget`, as in `rollouts`", since=3),
        _column("num_samples", _INT, "samples drawn, the pending ones included"),
        _column("num_pending", _INT, "samples that a smaller budget cut and that `rollout` can continue; no statistic counts them", since=3, absent=0),
        # `sort`: the sum of floats depends on their order, and polars' order on the number of threads.
        _statistic("num_scored", _INT, "samples with a reward that is not null; 0 if the gate fails", lambda pl: pl.col("reward").count()),
        _statistic("mean", _FLOAT, "mean reward; null: nothing scored", lambda pl: pl.col("reward").sort().mean()),
        _statistic("variance", _FLOAT, "population variance of the reward (ddof=0); null: nothing scored", lambda pl: pl.col("reward").sort().var(ddof=0)),
        _statistic("min_reward", _FLOAT, "minimum reward; null: nothing scored", lambda pl: pl.col("reward").min()),
        _statistic("max_reward", _FLOAT, "maximum reward; null: nothing scored", lambda pl: pl.col("reward").max()),
        _statistic("mean_low", _FLOAT, "mean reward with each unproven sample as 0, over all samples except failures; null: nothing judged", lambda pl: _bound_of_mean(pl, 0), since=2, absent=-1.0),
        _statistic("mean_high", _FLOAT, "the same with each unproven sample as 1; null: as above", lambda pl: _bound_of_mean(pl, 1), since=2, absent=-1.0),
        _column("reward_class", _STRING, "`sometimes`: rewards differ by more than 1e-6; else `undecided` (some are null because unproven), `never` (all 0), `always` (all 1) or `constant`; null: nothing judged, or, in a carried state, the few rewards are equal and those of `num_samples` (of `stopping`) would probably differ"),
        *[_num_outcome(outcome) for outcome in Outcome],
        _column("stopping", _STRING, "JSON `{rule, num_samples, max_mean, min_scored}`: the rule that stopped the state before `num_samples` samples; null: it has all of them, or there is no rule"),
        _column("posterior_alpha", _FLOAT, "the success rate's posterior, from the samples with a reward, is Beta(alpha, beta); its prior is fitted on the run, or carried over (`carried`); null: nothing scored or carried"),
        _column("posterior_beta", _FLOAT, "as above"),
        _column("posterior_mean", _FLOAT, "its mean: the mean reward, shrunk towards that of similar states if there are few samples; null: as above"),
        _column("posterior_low", _FLOAT, "its 5 % quantile; null: as above"),
        _column("posterior_high", _FLOAT, "its 95 % quantile; null: as above"),
        _column("solvable_probability", _FLOAT, "probability by the posterior that the success rate is above 1 %; null: nothing scored", since=3, absent=-1.0),
        _column("pivot_probability", _FLOAT, "probability that a new profile would make it a pivot, under the policy's last stopping rule (its `num_samples` and `max_mean`); null: as above, or no rule"),
        _column("carried_low", _FLOAT, "lower bound of the mean reward, from stored actions of earlier policies (`carried`); states without carried actions have none", since=3),
        _column("carried_high", _FLOAT, "upper bound of the mean reward, likewise", since=3),
        _column("unseen_mass", _FLOAT, "probability that the policy takes an action that is not stored, likewise", since=3),
    ]
)  # fmt: skip
CARRIED = pa.schema(
    [
        _column("policy_id", _STRING, "policy that the state is carried to"),
        _column("verifier_id", _STRING, "verifier of the rewards"),
        _column("state_id", _STRING, "the state"),
        _column("source", _STRING, "source of the stored actions: the earlier policies' ids, and a hash of the trainer's completions"),
        _column("budget", _INT, "token budget of the policy: a longer action counts as truncated; each budget has rows of its own"),
        _column("num_actions", _INT, "distinct stored actions whose reward is known, the demonstration included"),
        _column("carried_low", _FLOAT, "sum of q r over these: probability under the policy times reward"),
        _column("carried_high", _FLOAT, "1 - sum of q (1 - r)"),
        _column("unseen_mass", _FLOAT, "1 - sum of q"),
        _column("old_alpha", _FLOAT, "the first earlier policy's posterior is Beta(alpha, beta); null: it has none in this state"),
        _column("old_beta", _FLOAT, "as above"),
        _column("num_prefill_tokens", _INT, "tokens computed for the state; null: not prefilled"),
        _column("refusal", _STRING, "why only the posterior is carried, with bounds 0 and 1; null: the state was prefilled"),
    ]
)  # fmt: skip
TRIAGE = pa.schema(
    [
        _column("policy_id", _STRING, "policy that was prefilled"),
        _column("state_id", _STRING, "the state"),
        _column("turn_id", _STRING, "turn of the demonstration"),
        _column("logprob", _FLOAT, "natural log-probability of the demonstration, end of turn included; null: not prefilled"),
        _column("num_tokens", _INT, "its tokens; null: not prefilled"),
        _column("num_prefill_tokens", _INT, "tokens prefilled for it, without those that an earlier row counts; null: not prefilled"),
        _column("refusal", _STRING, "why its probability gives no bound; null: it gives one"),
    ]
)  # fmt: skip
REJECTS = pa.schema(
    [
        _column("stage", _STRING, "stage that dropped it"),
        _column("reason", _STRING, "one word, counted"),
        _column("source", _STRING, "path of the source; null: not known at this stage"),
        _column("source_index", _LONG, "record in the source, from 0; null: the file as a whole, or not known"),
        _column("trajectory_id", _STRING, "null: the record is not a trajectory, or several share the state"),
        _column("turn_id", _STRING, "null: not one turn"),
        _column("state_id", _STRING, "null: no state"),
        _column("num_turns", _INT, "turns lost with this row; null: unknown, since the record could not be read"),
        _column("detail", _STRING, "the details; null: the reason is enough"),
    ]
)
PIVOTS = pa.schema(
    [
        _column("prompt", _STRING, "the rendered prompt, tools and generation prompt included; tokenised with the tokenizer's own special tokens, it gives `prompt_ids`"),
        _column("prompt_ids", pa.list_(_INT), "the prompt that was sampled from, token for token"),
        _column("prompt_messages", _STRING, "the state's messages: JSON list"),
        _column("tools", _STRING, "the state's tools: JSON list; null: none"),
        _column("demonstrations", _STRING, "JSON list of `{action, reply, turn_id}`; `reply`: the recorded environment's messages after it"),
        _column("state_id", _STRING, "the state"),
        _column("trajectory_id", _STRING, "trajectory of the first demonstration"),
        _column("turn_id", _STRING, "turn of the first demonstration"),
        _column("task_id", _STRING, "its task; null: the source has none"),
        _column("domain", _STRING, "its domain; null: none"),
        _column("kind", _STRING, "`tool_call` or `message`"),
        _column("verifier", _STRING, "verifier's name; null: no verifier handles the turn (with `--strategy all`, and in `demonstrations`)"),
        _column("verifier_options", _STRING, "its options: JSON object; null: as above"),
        _column("verifier_id", _STRING, "name, version and options as one id; null: as above"),
        _column("scores_verifier_id", _STRING, "`verifier_id` of its scores and profile; it differs if rules chose the verifier; null: as above"),
        _column("parser", _STRING, "action parser's name; it reads completions of the action format `native`"),
        _column("action_format", _STRING, "`native`, or the text convention that parses completions; older rows are native", since=2),
        _column("action_tools", _STRING, "JSON list of the tools that the text convention implies; only the verifier sees them; empty for `native`", since=2, absent="[]"),
        _column("opened_reasoning", _BOOL, "whether the prompt opened a reasoning block"),
        _column("turn_index", _INT, "place of the first demonstration among its trajectory's turns, from 0", since=3),
        _column("outcome", _FLOAT, "outcome label of the first demonstration's trajectory; rows with a `turn_index` and without an outcome are unlabelled", since=3),
        _column("weight", _FLOAT, "how often a trainer draws the row, relative to the others; rows without one have equal weights", since=3),
        _column("rewards", pa.list_(_FLOAT), "rewards of its samples in the order of their indices, null for a sample without a reward; empty: not profiled", since=3),
        _column("lengths", pa.list_(_INT), "their sampled tokens, end of turn included, null if the server does not report them; empty: as above", since=3),
        _column("num_distinct_actions", _INT, "number of distinct stored actions among them; 0: not profiled", since=3),
        _column("entropy", _FLOAT, "entropy of the policy's actions in nats, estimated by the mean of -log p over its samples; rows have none if not profiled, without stored log-probabilities, with top-p or top-k, or at a temperature other than 1", since=4),
        _column("num_samples", _INT, "samples drawn; null: not profiled"),
        _column("num_scored", _INT, "samples scored; null: not profiled"),
        _column("mean", _FLOAT, "mean reward; null: not profiled or nothing scored"),
        _column("variance", _FLOAT, "population variance of the reward (ddof=0); null: as above"),
        _column("reward_class", _STRING, "as in `profiles`; null: as above"),
        _column("posterior_mean", _FLOAT, "as in `profiles`; null: as above"),
        _column("pivot_probability", _FLOAT, "probability that a new profile would make it a pivot, with as many samples as the most profiled state has; null: as above"),
        _column("policy_id", _STRING, "policy that was profiled"),
        _column("sampling", _STRING, "its sampling parameters: JSON object"),
        _column("tokenizer", _STRING, "path or hub id of its tokenizer; null: a chat server rendered"),
        _column("template_options", _STRING, "options given to its chat template: JSON object"),
        _column("weights_hash", _STRING, "hash of its weights and adapter; null: they are on a server"),
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
        _column("trial", _STRING, "the action on trial: a mutation of the demonstration, or `other_states_action`: an action of another state with the same tool, written differently"),
        _column("must_pass", _BOOL, "whether it is equivalent to the demonstration by construction; null: not known"),
        _column("num_tried", _INT, "actions given"),
        _column("num_accepted", _INT, "actions with reward 1"),
        _column("num_unproven", _INT, "actions without a reward because the verifier could not prove an answer"),
        _column("num_failed", _INT, "actions without a reward because the machinery failed"),
    ]
)  # fmt: skip
AUDIT_ERRORS = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier on trial"),
        _column("verifier", _STRING, "name of the verifier that judged"),
        _column("state_id", _STRING, "the state"),
        _column("trial", _STRING, "as in `audit_trials`"),
        _column("error", _STRING, "`false_accept`, `false_reject`, or `paid_elsewhere`: an action of another state, written differently, earns a reward here"),
        _column("tool", _STRING, "as in `audit_trials`"),
        _column("domain", _STRING, "as in `audit_trials`"),
        _column("reward", _FLOAT, "what the action earned"),
        _column("detail", _STRING, "the verifier's detail; null: none"),
        _column("demonstrated", _STRING, "the demonstration, JSON"),
        _column("given", _STRING, "the action, JSON"),
    ]
)  # fmt: skip
AUDIT_CONSTANTS = pa.schema(
    [
        _column("verifier_id", _STRING, "verifier on trial"),
        _column("grouped_by", _STRING, "`tool` or `domain`"),
        _column("name", _STRING, "the tool (`message` for messages) or domain; null: no domain"),
        _column("action", _STRING, "the action with the highest mean reward if it is taken in every state of the group, JSON"),
        _column("mean_reward", _FLOAT, "its mean reward per state; no reward counts as 0"),
        _column("num_paid", _INT, "states in which its reward is above 0"),
        _column("num_states", _INT, "states of the group in which it was tried"),
        _column("num_actions", _INT, "actions compared: distinct samples and demonstrations of the group"),
        _column("is_exact", _BOOL, "whether each was tried in every state; false: most were screened on a random sample"),
    ]
)  # fmt: skip

STATES = pa.schema(
    [
        _column("state_id", _STRING, "the state"),
        _column("num_turns", _INT, "turns taken in it"),
        _column("num_trajectories", _INT, "trajectories that met it"),
        _column("num_demonstrations", _INT, "turns among them that are demonstrations"),
        _column("turn_id", _STRING, "smallest turn_id taken in it; the columns below describe that turn"),
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
`pivotmine sql RUN "select ..."` and plain `duckdb -init RUN/views.sql` see each by its name, even if it is empty. They
also see the views `states` (of `turns`), `last_rollouts` and `last_scores`. In the last two, a sample has one row, that
of its largest token budget. A column is null only if its meaning says so, or if an older run lacks it.

| table | where | written by |
|---|---|---|
| `trajectories`, `segments`, `messages`, `tools`, `turns` | a folder each | `extract` |
| `gates` | `gates/<verifier_id>.parquet`, one row per state judged so far | `rollout`, `score`, `select`, `audit` |
| `rollouts` | `rollouts/<policy_id>/`, in parts, appended and never rewritten | `rollout`, `record` |
| `scores` | `scores/<policy_id>/<verifier_id>/`, one part per part of `rollouts` | `score`, `record` (recorded rewards) |
| `profiles` | `scores/<policy_id>/<verifier_id>/profiles.parquet` | `score`, `record` |
| `triage` | `triage/<policy_id>/<verifier_id>/`, in parts | `run --adaptive ... --triage` |
| `carried` | `carried/<policy_id>/<verifier_id>/`, in parts; if a state and budget have several rows, the one with the smallest `unseen_mass` counts | `rollout --from` |
| `pivots` | `pivots/<name>/train.parquet` and `validation.parquet` | `select` |
| `demonstrations` | `pivots/<name>/demonstrations.parquet`, with the columns of `pivots` | `select` |
| `rejects` | `rejects/<stage>-<digest>/` | every stage |
| `audit_trials`, `audit_errors`, `audit_constants` | `audits/<verifier_id>/`, one file each: the verifier's last audit, with the first 200 errors of each kind | `audit` |

A run has more files:

- `manifests/<stage>-<digest>.json`: a stage's configuration, versions, numbers of rows and rejects, and duration.
- `rollouts/<policy_id>/policy.json` describes the policy, `scores/<policy_id>/<verifier_id>/verifier.json` the verifier.
- `pivots/<name>/README.md` is the data card of a selection.
- `plans/<policy_id>/<verifier_id>/` has the plans of adaptive profiling: one folder per rule, one file per round.

The views `pivots` and `demonstrations` have one more column, `pivots_name`: the name of the folder.

`parts` in `manifests/extract-*.json` and `manifests/parts-*.json` has the digest of every part by its path in the run:
the first 32 hexadecimal digits of its SHA-256. A part that was being written has two digests, the old and the new one;
`absent` stands for the old one if there was no part. `pivotmine verify RUN` compares the parts with their digests.
`python -m pivotmine.run.tables` writes this file.
"""


def readme() -> str:
    """The text of `data/README.md`: one section per table, one line per column."""
    sections = [_section(name, schema) for name, schema in TABLES.items() if name != "demonstrations"]
    return "\n".join([_HEADER, *sections, _section("states (a view, one row per state)", STATES)])


def _section(title: str, schema: pa.Schema) -> str:
    rows = [f"| `{f.name}` | {_type_name(f.type)} | {f.metadata[b'doc'].decode()}{_added(f)} |" for f in schema]
    return "\n".join([f"## {title}", "", "| column | type | meaning |", "|---|---|---|", *rows, ""])


def _added(column: pa.Field) -> str:
    """What the absence of a newer column means in an older run."""
    if since(column) == 1:
        return ""
    absent = absent_value(column)
    return f"; since format {since(column)}, {'null' if absent is None else f'`{absent}`'} in older parts"


def _type_name(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if isinstance(kind, pa.ListType) else str(kind)


if __name__ == "__main__":
    print(readme(), end="")  # noqa: T201
