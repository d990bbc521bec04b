"""Each stage's summary as text for a person."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine.counts import counted
from pivotmine.escape import inert, one_line

if TYPE_CHECKING:
    from pivotmine_stages.adaptive.summary import AdaptiveSummary, CarrySummary, CostEstimate, TriageSummary
    from pivotmine_stages.cli.run_all import RunSummary
    from pivotmine_stages.export.stage import ExportSummary
    from pivotmine_stages.extract.summary import ExtractSummary, RejectCount
    from pivotmine_stages.record.stage import RecordSummary
    from pivotmine_stages.rollout.stage import RolloutSummary, Sampled
    from pivotmine_stages.score.stage import ScoreSummary
    from pivotmine_stages.select.summary import SelectPreview, SelectSummary

MAX_EXAMPLE = 400
_MAX_EXAMPLES = 5
"""Maximum number of reject reasons that are shown with their first place."""


def extract_report(s: ExtractSummary) -> str:
    """Summary of extract."""
    needed = "no label makes" if s.all_failed else f"label {_label(str(s.min_outcome))} or better makes"
    labels = ", ".join(f"{_label(k)}: {v:,}" for k, v in s.outcomes.items())
    lines = [
        f"{counted(s.trajectories, 'trajectory')}, {counted(s.segments, 'segment')}, "
        f"{counted(s.messages, 'distinct message')}",
        f"{counted(s.turns, 'turn')} in {counted(s.states, 'state')}",
        f"outcomes {labels}; {needed} a demonstration"
        if set(s.outcomes) != {"None"}
        else "outcomes: none found, all trajectories count as good; --outcome-column KEY names another place",
        *([f"labels found under {_counts(s.outcome_keys)}"] if s.outcome_keys else []),
        _demonstrations(s),
        f"read by {_counts(s.formats)}",
        *_notes(s),
        _rejects({k: _rows_and_turns(v) for k, v in s.rejects.items()}),
        *(f"  {reason}, first: {count.first}" for reason, count in list(s.rejects.items())[:_MAX_EXAMPLES]),
        *(_estimated(s) if s.dry_run else []),
        f"{s.seconds} s",
    ]
    return _block("extract", lines)


def _label(text: str) -> str:
    """Write an outcome label without the noise of binary fractions: 0.69, not 0.6900000000000001."""
    return "unlabelled" if text == "None" else repr(float(f"{float(text):.12g}"))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({number:,})" for name, number in counts.items())


def _demonstrations(s: ExtractSummary) -> str:
    nouns = {"tool_call": "call", "message": "message"}
    kinds = ", ".join(counted(number, nouns[kind]) for kind, number in (s.kinds or {}).items())
    are = "is a demonstration" if s.demonstrations == 1 else "are demonstrations"
    states = counted(s.demonstrated_states, "state")
    return f"{s.demonstrations:,} of {counted(s.turns, 'turn')} {are}{f' ({kinds})' if kinds else ''}, of {states}"


def _notes(s: ExtractSummary) -> list[str]:
    """Return what a user may want to change, or must know before the next stage."""
    notes: list[str] = []
    if (s.kinds or {}).keys() == {"message"}:
        notes.append(
            "all demonstrations are messages, and the default verifier proves few messages: with a judge, give "
            "--verifier judge to `run`, or to `rollout` and `score`; without one, perhaps no state is selected"
        )
    if s.calls_without_tools:
        notes.append(
            f"{s.calls_without_tools:,} call demonstrations are offered no tools, so the policy cannot know them: "
            "give the definitions with --tools FILE"
        )
    if s.states_without_user:
        notes.append(counted(s.states_without_user, "state holds no user message", "states hold no user message"))
    if s.undocumented_masks:
        notes.append(
            f"{counted(s.undocumented_masks, 'turn has', 'turns have')} `mask: false`, "
            "which has no documented meaning: it excludes nothing"
        )
    return notes


def _estimated(s: ExtractSummary) -> list[str]:
    unit, sizes = "tokens", (s.prompt_tokens, s.distinct_prefix_tokens, s.longest_prompt_tokens)
    if s.prompt_tokens is None:
        unit, sizes = "characters", (s.prompt_characters, s.distinct_prefix_characters, s.longest_prompt_characters)
    total, distinct, longest = sizes
    return [
        f"prompts of {total:,} {unit}, {distinct:,} in distinct prefixes, {longest:,} in the longest, "
        "without what a chat template adds",
        f"{counted(s.too_long, 'prompt leaves', 'prompts leave')} no room for a reply in this policy's context of "
        f"{s.max_model_len:,} tokens: take a policy with a longer one"
        if s.too_long
        else "",
        "dry run: nothing was written",
    ]


def _rows_and_turns(count: RejectCount) -> str:
    rows, turns = count.rows, count.turns
    return f"{rows:,}" if turns is None or turns == rows else f"{rows:,} ({counted(turns, 'turn')})"


def record_report(s: RecordSummary) -> str:
    """Summary of record."""
    lines = [
        f"policy {s.policy_id}",
        f"{s.samples:,} of {counted(s.turns, 'turn')} in {counted(s.records, 'record')} "
        f"{'is a sample in a state' if s.samples == 1 else 'are samples in states'} of this run",
        f"{s.rewarded:,} of them came with a reward",
        f"rejects: {s.rejects:,}",
        f"{s.seconds} s",
    ]
    scored = score_report(s.score) if s.score else ""
    return "\n".join(filter(None, [_block("record", lines), scored]))


def rollout_report(s: RolloutSummary | CostEstimate) -> str:
    """Summary of rollout, or of its dry run."""
    from pivotmine_stages.adaptive.summary import CarriedRollout, CostEstimate

    if isinstance(s, CostEstimate):
        return _estimate_report(s)
    done = s.sampled
    sampled = f"sampled {counted(done.samples or 0, 'action')} in {counted(done.states, 'state')}"
    if done.continued:
        sampled += f", {counted(done.continued, 'truncated one')} continued"
    if done and s.sampling_s:
        rates = f"{done.states / s.sampling_s:,.1f} states/s, {done.tokens / s.sampling_s:,.0f} tokens/s"
        sampled += f": {counted(done.tokens, 'token')}, {rates}"
    lines = [
        f"policy {s.policy_id}",
        f"{counted(s.wanted_states, 'state')}, {counted(s.wanted_samples, 'sample')} wanted, "
        f"{s.missing_samples:,} missing now",
        sampled,
        _prompt_tokens(done) if done else "",
        _rejects(s.rejects),
        *(f"  the first {reason}: {one_line(detail)[:MAX_EXAMPLE]}" for reason, detail in s.causes.items()),
        *(_carried(s.carried, s.adaptive) if isinstance(s, CarriedRollout) else [f"{s.seconds} s"]),
    ]
    return _block("rollout", lines)


def _carried(carried: CarrySummary, adaptive: AdaptiveSummary) -> list[str]:
    """Describe what `--from` carried over, and what it left to be sampled."""
    decay, checked = carried.decay, carried.calibration
    fresh = "not checked, because no state of the check set was sampled"
    if checked:
        fresh = (
            f"checked on {counted(checked.states, 'state')}: mean reward {checked.expected:.3f} expected, "
            f"{checked.observed:.3f} observed, squared error {checked.spread:.2f} times the expected variance"
        )
    return [
        f"{counted(carried.actions or 0, 'stored action')} in {counted(carried.states, 'state')}: "
        f"{counted(carried.prefill_tokens or 0, 'token')} prefilled, {counted(carried.refused or 0, 'state')} refused"
        if carried.states
        else "",
        f"mean unseen mass {carried.unseen_mass:.3f}; "
        f"{counted(carried.unsampled, 'state needs', 'states need')} no sample",
        f"{counted(adaptive.samples, 'sample')}, {adaptive.samples / max(adaptive.fixed_samples, 1):.0%} of "
        f"{adaptive.fixed_samples:,}, in {counted(adaptive.rounds, 'round')}",
        f"old posteriors keep {decay.kept:g} of their weight, unseen actions succeed at rate {decay.rate:g}; {fresh}",
        f"{adaptive.seconds} s",
    ]


def _estimate_report(s: CostEstimate) -> str:
    separate = s.prompt_tokens * s.samples // max(s.states, 1)
    lines = [
        f"dry run of {s.policy_id}: {counted(s.states, 'state')}, {counted(s.samples, 'sample')} to draw"
        + (f", {counted(s.continued, 'truncated one')} to continue" if s.continued else ""),
        f"{counted(s.prompt_tokens, 'prompt token')}; {separate:,} with one request per sample, "
        f"{s.distinct_prefix_tokens:,} with every prefix shared",
        f"{counted(s.unrendered, 'state')} that the template refuses" if s.unrendered else "",
        f"{counted(s.too_long, 'state')} left out: prompt and --max-new-tokens exceed the context of "
        f"{s.max_model_len:,} tokens; {s.longest:,} would hold all"
        if s.too_long
        else "",
        *(_generation(s) if s.samples or s.continued else ()),
        ""
        if s.adaptive_share is None
        else f"--adaptive probabilistic is expected to need {s.adaptive_share:.0%} of all samples",
    ]
    return _block("rollout", lines)


def _generation(s: CostEstimate) -> list[str]:
    """Describe what is generated and what it costs: an upper bound until samples show how long actions are."""
    each = s.tokens_per_sample
    most = "at most " if each is None else ""
    length = (
        "; --pilot 100 samples some states to learn how long actions are" if each is None else f", {each:.1f} a sample"
    )
    return [
        f"{most}{s.generated_tokens:,.0f} tokens to generate{length}",
        "" if s.gpu_hours is None else f"{most}{s.gpu_hours:,.2f} GPU-hours, prompt tokens included",
        "" if s.price is None else f"{most}{s.price:,.2f} at the given price per hour",
    ]


def _prompt_tokens(done: Sampled) -> str:
    if done.prefill_tokens is not None:  # over all samples: vLLM prefills each
        return f"{counted(done.prompt_tokens, 'prompt token')}, {counted(done.prefill_tokens, 'token')} prefilled"
    return f"{counted(done.prompt_tokens, 'prompt token')}, {done.cached_tokens:,} of them from the prefix cache"


def score_report(s: ScoreSummary) -> str:
    """Summary of score."""
    lines = [
        f"{s.scored:,} of {counted(s.samples, 'sample')} scored by {s.verifier_id}",
        _pending(s) if s.pending else "",
        f"{counted(s.states, 'state')}: {_classes(s.classes)}"
        + ("" if s.mean is None else f"; mean reward {s.mean:.3f}"),
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
    return (
        f"{counted(s.pending, 'truncated sample waits for its end', 'truncated samples wait for their end')}: "
        f"`pivotmine rollout` with {budget} continues them"
    )


def _unproven(s: ScoreSummary) -> list[str]:
    """Return the bounds of the mean reward if samples are unproven."""
    if s.mean_low is None:
        return []
    return [f"mean reward {s.mean_low:.3f} if every unproven sample is wrong, {s.mean_high:.3f} if every one is right"]


def _classes(classes: Mapping[str, int]) -> str:
    named = ["never", "sometimes", "always", *(name for name in ("undecided", "constant") if classes.get(name))]
    return ", ".join(f"{name} {classes.get(name, 0):,}" for name in named)


JUDGE_UNDECIDED = (
    "undecided: for too many samples of {}, the judge gave no answer or changed it when the actions were swapped"
)
UNDECIDED_ADVICE = (
    "undecided: the verifier could not prove enough samples of {}; add a judge behind it in the config: "
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
        f"of {counted(s.candidates, 'candidate')}",
        f"{counted(drawn.rows, 'demonstration')}, drawn from the {counted(drawn.states, 'state')} outside validation"
        f"{_left_out(drawn.left_out)}"
        if drawn.states
        else "",
        f"pivots/{twin.name}: {twin.train:,} training and {twin.validation:,} validation rows, drawn at random; they "
        f"took no samples, the choice took {s.cost.samples:,}{_left_out(twin.left_out)}"
        if twin
        else "",
        _rejects(s.rejects),
        (JUDGE_UNDECIDED if (s.verifier_id or "").startswith("judge-") else UNDECIDED_ADVICE).format(
            counted(undecided, "state")
        )
        if undecided
        else "",
        *_deferred(s),
        f"{s.seconds} s",
    ]
    return _block("select", lines)


def _deferred(s: SelectSummary) -> list[str]:
    """Describe the deferred states of class `never`, and the demonstrations that are suspects."""
    from pivotmine_stages.profiles.never_states import MIN_LOGPROB, NeverStates

    lines: list[str] = []
    if (found := s.deferred) is not None:
        lines.append(f"deferred: {NeverStates(found.states, found.expected).words()}")
        if found.commands:
            lines += ["  a later round can sample them hotter, as another policy:", *(f"  {c}" for c in found.commands)]
    if s.suspects:
        named = ", ".join(f"{one.state_id} ({one.logprob})" for one in s.suspects[:_MAX_EXAMPLES])
        lines.append(
            f"suspects: {counted(len(s.suspects), 'demonstration is', 'demonstrations are')} less likely than "
            f"{math.exp(MIN_LOGPROB):.0e}: a fault of format or verifier is likelier than difficulty; "
            f"by log-probability: {named}"
        )
    return lines


def _left_out(counts: Mapping[str, int]) -> str:
    return f" (drawn and left out: {_counts(counts)})" if counts else ""


def export_report(s: ExportSummary) -> str:
    """Summary of export."""
    counts = f"{s.train:,} training and {s.validation:,} validation rows as {s.format}"
    return _block("export", [counts, *s.files, f"{s.seconds} s"])


def adaptive_report(s: AdaptiveSummary) -> str:
    """One round of adaptive profiling."""
    share = s.samples / s.fixed_samples if s.fixed_samples else 0.0
    lines = [
        f"round {s.rounds}: {counted(s.round_samples, 'sample')} in {counted(s.round_states, 'state')}",
        f"{s.samples:,} so far, {share:.0%} of {s.fixed_samples:,} for {counted(s.states, 'state')}",
        f"{counted(s.triaged, 'state needs', 'states need')} none: the demonstration alone is likely enough"
        if s.triaged
        else "",
        f"{counted(s.failed_states, 'state')} could not be sampled; the rejects say why" if s.failed_states else "",
    ]
    return _block("adaptive", lines)


def triage_report(s: TriageSummary) -> str:
    """Summary of triage."""
    lines = [
        f"{counted(s.states, 'demonstration')} asked for, {s.refused:,} of them refused",
        f"{counted(s.above, 'state needs', 'states need')} no sample: "
        f"the demonstration alone has probability {s.max_mean} or more",
        f"{counted(s.prefill_tokens, 'token')} prefilled",
        f"{s.seconds} s",
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


def closing(run: Path, s: RunSummary, program: str = "pivotmine") -> str:
    """Return the end of `pivotmine run`: results, cost, and the next commands. program: how pivotmine is run here."""
    classes, rolled, selected = s.score.classes, s.rollout, s.select
    from pivotmine_stages.report.subject import Subject, flags_of  # heavy, and only this report needs it

    pivots = selected.train + selected.validation
    at, name = shlex.quote(str(run)), selected.name
    subject = Subject(rolled.policy_id, s.score.verifier_id)
    known = flags_of(run, subject)
    if selected.deferred and selected.deferred.commands:  # they add a policy, so --policy will be needed
        known = {"policy": subject.policy_id} | known
    flags = [f" --{key} {shlex.quote(known[key])}" if key in known else "" for key in ("policy", "verifier")]
    which = "".join(flags)
    # Show states that are never solved; without any, the states worth training on.
    looked_at = next((kind for kind in ("never", "sometimes") if classes.get(kind)), next(iter(classes), "unscored"))
    lines = [
        f"{counted(s.score.states, 'state')}: {_classes(classes)}",
        f"{counted(pivots, 'pivot')} in {at}/pivots/{name}" if pivots else _why_none(classes),
        f"cost: {counted(rolled.stored.samples, 'sample')}, {counted(rolled.stored.tokens, 'token')} generated, "
        f"{counted(rolled.stored.prompt_tokens, 'prompt token')}",
        f"sampled by this command: {rolled.sampled.samples or 0:,}, in {rolled.sampling_s:,} s",
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
