"""What a person reads: each stage's summary as text, and tables with foreign text made inert."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pivotmine.errors import UserError
from pivotmine.escape import inert, one_line

if TYPE_CHECKING:
    from pivotmine_stages.export.stage import ExportSummary
    from pivotmine_stages.record.stage import RecordSummary
    from pivotmine_stages.score.stage import ScoreSummary
    from pivotmine_stages.select.summary import SelectPreview, SelectSummary

MAX_CELL = 80
MAX_ROWS = 200
_CUT = "..."
MAX_EXAMPLE = 400
_MAX_EXAMPLES = 5
"""Reasons of rejects that are shown with their first place."""


def extract_report(s: Mapping[str, Any]) -> str:
    """Summary of extract."""
    needed = "no label makes" if s["all_failed"] else f"label {_label(str(s['min_outcome']))} or better makes"
    labels = ", ".join(f"{_label(k)}: {v:,}" for k, v in s["outcomes"].items())
    lines = [
        f"{s['trajectories']:,} trajectories, {s['segments']:,} segments, {s['messages']:,} distinct messages",
        f"{s['turns']:,} turns in {s['states']:,} states",
        f"outcomes {labels}; {needed} a demonstration"
        if set(s["outcomes"]) != {"None"}
        else "outcomes: none found, all trajectories count as good; --outcome-column KEY names another place",
        *([f"labels found under {_counts(s['outcome_keys'])}"] if s["outcome_keys"] else []),
        f"{s['demonstrations']:,} of {s['turns']:,} turns are demonstrations, of {s['demonstrated_states']:,} states",
        f"read by {_counts(s['formats'])}",
        *_notes(s),
        _rejects({k: _rows_and_turns(v) for k, v in s["rejects"].items()}),
        *(f"  {reason}, first: {count['first']}" for reason, count in list(s["rejects"].items())[:_MAX_EXAMPLES]),
        *(_estimated(s) if s.get("dry_run") else []),
        f"{s['seconds']} s",
    ]
    return _block("extract", lines)


def _label(text: str) -> str:
    """An outcome label without the noise of binary fractions: 0.69, not 0.6900000000000001."""
    return "unlabelled" if text == "None" else repr(float(f"{float(text):.12g}"))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({number:,})" for name, number in counts.items())


def _notes(s: Mapping[str, Any]) -> list[str]:
    """What a user may want to change."""
    notes: list[str] = []
    if s["calls_without_tools"]:
        notes.append(
            f"{s['calls_without_tools']:,} call demonstrations are offered no tools, so the policy cannot know them: "
            "give the definitions with --tools FILE"
        )
    if s["states_without_user"]:
        notes.append(f"{s['states_without_user']:,} states hold no user message")
    if s["undocumented_masks"]:
        notes.append(f"{s['undocumented_masks']:,} turns have `mask: false`, which nobody documents: none is left out")
    return notes


def _estimated(s: Mapping[str, Any]) -> list[str]:
    unit = "tokens" if "prompt_tokens" in s else "characters"
    total, distinct = s[f"prompt_{unit}"], s[f"distinct_prefix_{unit}"]
    return [
        f"prompts of {total:,} {unit}, {distinct:,} in distinct prefixes, without what a chat template adds",
        "dry run: nothing was written",
    ]


def _rows_and_turns(count: Mapping[str, int | None]) -> str:
    rows, turns = count["rows"], count["turns"]
    return f"{rows:,}" if turns in (rows, None) else f"{rows:,} ({turns:,} turns)"


def record_report(s: RecordSummary) -> str:
    """Summary of record."""
    lines = [
        f"policy {s.policy_id}",
        f"{s.samples:,} of {s.turns:,} turns in {s.records:,} records are samples in states of this run",
        f"{s.rewarded:,} of them came with a reward",
        f"rejects: {s.rejects:,}",
        f"{s.seconds} s",
    ]
    scored = score_report(s.score) if s.score else ""
    return "\n".join(filter(None, [_block("record", lines), scored]))


def rollout_report(s: Mapping[str, Any]) -> str:
    """Summary of rollout, or of its dry run."""
    if s.get("dry_run"):
        return _dry_run_report(s)
    done, speed = s["sampled"], s["sampling_s"] or None
    sampled = f"sampled {done.get('samples', 0):,} actions in {done.get('states', 0):,} states"
    if done.get("continued"):
        sampled += f", {done['continued']:,} truncated ones continued"
    if speed and done:
        rates = f"{done['states'] / speed:,.1f} states/s, {done['tokens'] / speed:,.0f} tokens/s"
        sampled += f": {done['tokens']:,} tokens, {rates}"
    lines = [
        f"policy {s['policy_id']}",
        f"{s['wanted_states']:,} states, {s['wanted_samples']:,} samples wanted, {s['missing_samples']:,} missing now",
        sampled,
        _prompt_tokens(done) if done else "",
        _rejects(s["rejects"]),
        *(f"  the first {reason}: {one_line(detail)[:MAX_EXAMPLE]}" for reason, detail in s["causes"].items()),
        *(_carried(s["carried"], s["adaptive"]) if "carried" in s else [f"{s['seconds']} s"]),
    ]
    return _block("rollout", lines)


def _carried(carried: Mapping[str, Any], adaptive: Mapping[str, Any]) -> list[str]:
    """What `--from` carried over, and what it left to be sampled."""
    decay, checked = carried["decay"], carried["calibration"]
    read = f"{carried['actions']:,} stored actions read in {carried['states']:,} states" if "states" in carried else ""
    fresh = "no state of the set that checks the decay was sampled"
    if checked:
        fresh = (
            f"checked on {checked['states']} states: mean reward {checked['expected']:.3f} expected, "
            f"{checked['observed']:.3f} observed, squared error {checked['spread']:.2f} of what was expected"
        )
    return [
        f"{read}: {carried['prefill_tokens']:,} tokens prefilled, {carried['refused']:,} states refused"
        if read
        else "",
        f"mean unseen mass {carried['unseen_mass']:.3f}; {carried['unsampled']:,} states need no sample",
        f"{adaptive['samples']:,} samples, {adaptive['samples'] / max(adaptive['fixed_samples'], 1):.0%} of "
        f"{adaptive['fixed_samples']:,}, in {adaptive['rounds']} rounds",
        f"of old posteriors {decay['kept']:g} is kept, unseen actions succeed at {decay['rate']:g}; {fresh}",
        f"{adaptive['seconds']} s",
    ]


def _dry_run_report(s: Mapping[str, Any]) -> str:
    tree, prompts, adaptive = s["distinct_prefix_tokens"], s["prompt_tokens"], s["adaptive_share"]
    separate = prompts * s["samples"] // max(s["states"], 1)
    lines = [
        f"dry run of {s['policy_id']}: {s['states']:,} states, {s['samples']:,} samples to draw"
        + (f", {s['continued']:,} truncated ones to continue" if s["continued"] else ""),
        f"{prompts:,} prompt tokens; as one request a sample {separate:,}, with every prefix shared {tree:,}",
        f"{s['unrendered']:,} states that the template refuses" if s["unrendered"] else "",
        f"{s['too_long']:,} states left out: their prompt and --max-new-tokens exceed {s['max_model_len']:,} tokens"
        if s["too_long"]
        else "",
        "generated tokens not known: no sample is stored; --pilot 100 draws some"
        if s["generated_tokens"] is None
        else f"{s['generated_tokens']:,.0f} tokens to generate, {s['tokens_per_sample']:.1f} a sample",
        "" if adaptive is None else f"--adaptive probabilistic is expected to need {adaptive:.0%} of all samples",
        "" if s["gpu_hours"] is None else f"{s['gpu_hours']:,.2f} GPU-hours, prompt tokens included",
        "" if s["price"] is None else f"{s['price']:,.2f} at the given price per hour",
    ]
    return _block("rollout", lines)


def _prompt_tokens(done: Mapping[str, int]) -> str:
    if "prefill_tokens" in done:  # over all samples: vLLM prefills each
        return f"{done['prompt_tokens']:,} prompt tokens, {done['prefill_tokens']:,} tokens prefilled"
    return f"{done['prompt_tokens']:,} prompt tokens, {done['cached_tokens']:,} of them from the prefix cache"


def score_report(s: ScoreSummary) -> str:
    """Summary of score."""
    lines = [
        f"{s.scored:,} of {s.samples:,} samples scored by {s.verifier_id}",
        _pending(s) if s.pending else "",
        f"{s.states:,} states: {_classes(s.classes)}" + ("" if s.mean is None else f"; mean reward {s.mean:.3f}"),
        *(f"  {domain or 'no domain'}: {_classes(found)}" for domain, found in s.domains.items()),
        *_unproven(s),
        "outcomes " + (", ".join(f"{k} {v:,}" for k, v in s.outcomes.items()) or "none"),
        *[
            f"{name} is not installed ({', '.join(modules)} missing), so tool_call compared its calls: "
            'pip install "pivotmine[verifiers]"'
            for name, modules in (s.not_installed or {}).items()
        ],
        _rejects(s.rejects),
        f"{s.seconds} s",
    ]
    return _block("score", lines)


def _pending(s: ScoreSummary) -> str:
    budget = f"--max-new-tokens {s.max_new_tokens}"
    return f"{s.pending:,} truncated samples wait for their end: `pivotmine rollout` with {budget} continues them"


def _unproven(s: ScoreSummary) -> list[str]:
    """What the mean reward hides if samples are unproven."""
    if s.mean_low is None:
        return []
    return [f"mean reward {s.mean_low:.3f} if every unproven sample is wrong, {s.mean_high:.3f} if every one is right"]


def _classes(classes: Mapping[str, int]) -> str:
    named = ["never", "sometimes", "always", *(name for name in ("undecided", "constant") if classes.get(name))]
    return ", ".join(f"{name} {classes.get(name, 0):,}" for name in named)


UNDECIDED_ADVICE = (
    "undecided: the verifier could not prove enough samples of {:,} states; add a judge behind it in the config: "
    '[verifiers.NAME] first_decided = ["auto", "judge"], then score and select with --verifier NAME'
)


def select_report(s: SelectSummary | SelectPreview) -> str:
    """Summary of select, or of its dry run."""
    from pivotmine_stages.select.preview import preview_text
    from pivotmine_stages.select.summary import SelectPreview

    if isinstance(s, SelectPreview):
        return preview_text(s.rows)
    undecided, drawn, twin = s.rejects.get("undecided"), s.demonstrations, s.twin
    lines = [
        f"pivots/{s.name}: {s.train:,} training and {s.validation:,} validation rows",
        f"of {s.candidates:,} candidates",
        f"{drawn.rows:,} demonstrations, drawn from the {drawn.states:,} states outside validation"
        f"{_left_out(drawn.left_out)}"
        if drawn.states
        else "",
        f"pivots/{twin.name}: {twin.train:,} training and {twin.validation:,} validation rows, drawn at random without "
        f"samples, where the choice took {s.cost.samples:,}{_left_out(twin.left_out)}"
        if twin
        else "",
        _rejects(s.rejects),
        UNDECIDED_ADVICE.format(undecided) if undecided else "",
        *_deferred(s),
        f"{s.seconds} s",
    ]
    return _block("select", lines)


def _deferred(s: SelectSummary) -> list[str]:
    """What the states of class `never` still hold, and the demonstrations that are suspects."""
    from pivotmine_stages.profiles.never_states import MIN_LOGPROB, NeverStates

    lines: list[str] = []
    if (found := s.deferred) is not None:
        lines.append(f"deferred: {NeverStates(found.states, found.expected).words()}")
        if found.commands:
            lines += ["  a later round can sample them hotter, as another policy:", *(f"  {c}" for c in found.commands)]
    if s.suspects:
        named = ", ".join(f"{one.state_id} ({one.logprob})" for one in s.suspects[:_MAX_EXAMPLES])
        lines.append(
            f"suspects: {len(s.suspects):,} demonstrations are less likely than {math.exp(MIN_LOGPROB):.0e}, rather a "
            f"fault of format or verifier than hard states; by log-probability: {named}"
        )
    return lines


def _left_out(counts: Mapping[str, int]) -> str:
    return f" (drawn and left out: {_counts(counts)})" if counts else ""


def export_report(s: ExportSummary) -> str:
    """Summary of export."""
    counts = f"{s.train:,} training and {s.validation:,} validation rows as {s.format}"
    return _block("export", [counts, *s.files, f"{s.seconds} s"])


def adaptive_report(s: Mapping[str, Any]) -> str:
    """One round of adaptive profiling."""
    share = s["samples"] / s["fixed_samples"] if s["fixed_samples"] else 0.0
    lines = [
        f"round {s['rounds']}: {s['round_samples']:,} samples in {s['round_states']:,} states",
        f"{s['samples']:,} so far, {share:.0%} of {s['fixed_samples']:,} for {s['states']:,} states",
        f"{s['triaged']:,} states need none: the demonstration alone is likely enough" if s["triaged"] else "",
        f"{s['failed_states']:,} states could not be sampled; the rejects say why" if s["failed_states"] else "",
    ]
    return _block("adaptive", lines)


def triage_report(s: Mapping[str, Any]) -> str:
    """Summary of triage."""
    lines = [
        f"{s.get('states', 0):,} demonstrations asked for, {s.get('refused', 0):,} of them refused",
        f"{s['above']:,} states need no sample: the demonstration alone has probability {s['max_mean']} or more",
        f"{s.get('prefill_tokens', 0):,} tokens prefilled",
        f"{s['seconds']} s",
    ]
    return _block("triage", lines)


REPORTS: dict[str, Callable[[Any], str]] = {
    "extract": extract_report,
    "record": record_report,
    "rollout": rollout_report,
    "adaptive": adaptive_report,
    "triage": triage_report,
    "score": score_report,
    "select": select_report,
    "export": export_report,
}


def closing(run: Path, s: Mapping[str, Any], program: str = "pivotmine") -> str:
    """The end of `pivotmine run`: what was found, what it cost, what to type next (as `program` is called here)."""
    classes, done, stored = s["score"].classes, s["rollout"]["sampled"], s["rollout"]["stored"]
    from pivotmine_stages.report.subject import Subject, flags_of  # not light, and of use to this report alone

    selected = s["select"]
    pivots = selected.train + selected.validation
    at, name = shlex.quote(str(run)), selected.name
    subject = Subject(s["rollout"]["policy_id"], s["score"].verifier_id)
    known = flags_of(run, subject)
    if selected.deferred and selected.deferred.commands:  # they make another policy
        known = {"policy": subject.policy_id} | known
    flags = [f" --{key} {shlex.quote(known[key])}" if key in known else "" for key in ("policy", "verifier")]
    which = "".join(flags)
    # States that are never solved are the first question; where there are none, those worth training on.
    looked_at = next((kind for kind in ("never", "sometimes") if classes.get(kind)), next(iter(classes), "unscored"))
    lines = [
        f"{s['score'].states:,} states: {_classes(classes)}",
        f"{pivots:,} pivots in {at}/pivots/{name}" if pivots else _why_none(classes),
        f"cost: {stored['samples']:,} samples, {stored['tokens']:,} tokens generated, "
        f"{stored['prompt_tokens']:,} prompt tokens",
        f"sampled by this command: {done.get('samples', 0):,}, in {s['rollout']['sampling_s']:,} s",
        "next:",
        f"  {program} report {at}{which}",
        f"  {program} show {at} --class {looked_at} -n 3{which}",
        f"  {program} audit {at}{''.join(flags[:1])}",
    ]
    return _block("run", lines)


def _why_none(classes: Mapping[str, int]) -> str:
    if not classes:
        return "no pivot: nothing could be scored; the rejects say why"
    if set(classes) == {"never"}:
        return (
            "no pivot: the policy fails in every state (all samples have reward 0); GRPO has nothing to learn from here"
        )
    if set(classes) == {"always"}:
        return "no pivot: the policy succeeds in every state; GRPO has nothing to learn from here"
    return "no pivot: no state has differing rewards and a mean below --max-mean"


def _rejects(counts: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in counts.items())
    return f"rejects: {listed}" if listed else "rejects: none"


def _block(title: str, lines: list[str]) -> str:
    shown = [line for line in lines if line]
    return "\n".join(f"{title if i == 0 else '':<9} {inert(line)}" for i, line in enumerate(shown))


def as_text_table(table: pa.Table) -> str:
    """A table for a terminal: cells cut at 80 characters, at most 200 rows, then the number of rows."""
    names = [_cell(name) for name in table.column_names]
    shown_rows = table.slice(0, MAX_ROWS)
    rows = list(zip(*([_cell(value) for value in _values(column)] for column in shown_rows.columns), strict=True))
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [names, *rows]
    ]
    rule = "  ".join("-" * width for width in widths)
    cut = [f"the first {MAX_ROWS} shown"] if table.num_rows > MAX_ROWS else []
    cut += ["cells cut"] if any(cell.endswith(_CUT) and len(cell) == MAX_CELL for row in rows for cell in row) else []
    shown = f", {', '.join(cut)}; --json prints all" if cut else ""
    count = f"{table.num_rows:,} row" + ("" if table.num_rows == 1 else "s")
    return "\n".join([lines[0], rule, *lines[1:], f"({count}{shown})"])


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        raise UserError("the answer holds a date that Python has not: make it a text by ::varchar") from None


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = inert(text)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - len(_CUT)]}{_CUT}"


def as_json_lines(table: pa.Table) -> str:
    """One JSON object a row; NaN and the infinities, which JSON has not, are null."""
    rows = zip(*(_values(column) for column in table.columns), strict=True)
    named = (dict(zip(table.column_names, row, strict=True)) for row in rows)
    return "\n".join(json.dumps(_finite(row), ensure_ascii=True, default=str) for row in named)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
