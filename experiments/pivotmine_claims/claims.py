"""The claims and the decision guide: sentences that follow from the differences between arms, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivotmine_claims.arms import ARMS
from pivotmine_claims.scores import Scores, percent, points
from pivotmine_claims.statistics import MIN_SEEDS, Estimate, sign

MISSING = "not measured yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A question that two arms answer."""

    ours: str
    theirs: str
    question: str


DIFFERENCES = (
    Difference(ours="sft", theirs="base", question="what SFT gains"),
    Difference(ours="pivots", theirs="base", question="what pivots gain"),
    Difference(ours="pivots", theirs="sft", question="pivots in place of SFT"),
    Difference(ours="sft_then_pivots", theirs="sft", question="pivots after SFT"),
    Difference(ours="pivots_demonstrations", theirs="demonstrations", question="pivots next to a demonstration loss"),
    Difference(ours="pivots_demonstrations", theirs="pivots", question="a demonstration loss next to pivots"),
    Difference(ours="pivots_demonstrations", theirs="sft", question="pivots with a demonstration loss in place of SFT"),
    Difference(ours="pivots", theirs="random", question="pivots in place of random states"),
    Difference(ours="pivots", theirs="pivots_strict", question="functional in place of strict reward, on pivots"),
    Difference(
        ours="random", theirs="random_strict", question="functional in place of strict reward, on random states"
    ),
    Difference(ours="mixed", theirs="pivots", question="no bound on the mean"),
    Difference(ours="mined_again", theirs="pivots", question="mining again"),
    Difference(ours="pivots", theirs="end_to_end", question="pivots in place of end-to-end RL"),
    Difference(ours="sft_calls", theirs="sft", question="SFT on call turns only"),
    Difference(ours="rejection", theirs="sft", question="own successes in place of demonstrations"),
)


def said(estimate: Estimate) -> str:
    """A difference in points, with its interval or the reason why it has none."""
    if estimate.mean is None:
        return MISSING
    count = len(estimate.values)
    if estimate.interval is None:
        return f"{points(estimate.mean)} points ({count} seed{'s' if count > 1 else ''}, no interval)"
    low, high = estimate.interval
    return f"{points(estimate.mean)} points [{points(low)}, {points(high)}] ({count} seeds)"


def finding(lead: str, estimate: Estimate, *, better: str, worse: str, undecided: str) -> str:
    """`lead`, the difference, and the sentence that it allows: none from fewer than three seeds."""
    if estimate.mean is None:
        return f"{lead}: {MISSING}."
    found = sign(estimate)
    words = {1: better, -1: worse, 0: undecided, None: "Too few seeds to conclude from."}[found]
    return f"{lead}: {said(estimate)}. {words}"


def paragraphs(scores: Scores) -> list[tuple[str, str]]:
    """(heading, text) of each claim."""
    return [(heading, write(scores)) for heading, write in _CLAIMS.items()]


def _bullets(words: list[str]) -> str:
    """The first as it is, the others as a list."""
    return words[0] + "\n\n" + "\n".join(f"- {one}" for one in words[1:])


def _in_domain(scores: Scores) -> str:
    words = ["The paper reports 63.81 for PivotRL and 58.44 for SFT on the same demonstrations (tau2, base 44.35)."]
    for how in ("greedy", "sampled"):
        words.append(
            finding(
                f"Pivots over SFT, {how} episodes",
                scores.difference("pivots", "sft", how),
                better="The claim holds here.",
                worse="The claim does not hold here.",
                undecided="The two cannot be told apart here.",
            )
        )
    words.append(_never(scores))
    for ours, theirs, what in (
        ("sft_then_pivots", "sft", "Pivots after SFT, over SFT alone"),
        ("pivots_demonstrations", "demonstrations", "Pivots next to a demonstration loss, over its matched control"),
    ):
        for how in ("greedy", "sampled"):
            words.append(
                finding(
                    f"{what}, {how} episodes",
                    scores.difference(ours, theirs, how),
                    better="Pivots add to it.",
                    worse="Pivots take from it.",
                    undecided="No gain is shown.",
                )
            )
    return _bullets(words)


def _never(scores: Scores) -> str:
    for cell in scores.cells["pivots"].values():
        found = cell["points"][-1]["ledger"][0]["found"]
        share = percent(found["never"] / sum(found.values()))
        return (
            f"Mining saw no success of the base policy in {share} of the call states. No reward differs there, so "
            "pivots cannot teach these states directly; demonstrations can."
        )
    return f"The share of states that bounds pivots: {MISSING}."


def _outside(scores: Scores) -> str:
    base = percent(scores.mean("base", "skills_mean").mean)
    words = [
        "The paper reports a mean change outside the domain of -9.83 for SFT and +0.21 for PivotRL. Skills have a "
        f"ceiling here (base {base}), so the KL to base on pre-training text is given too."
    ]
    changes: list[str] = []
    for arm in ("sft", "pivots", "sft_then_pivots", "pivots_demonstrations", "end_to_end"):
        skills, divergence = scores.difference(arm, "base", "skills_mean"), scores.mean(arm, "kl_to_base").mean
        more = "" if divergence is None else f", KL {divergence:.4f}"
        changes.append(f"{ARMS[arm].title}, change of the mean skill: {said(skills)}{more}.")
    words += changes
    words.append(
        finding(
            "Skills of pivots over those of SFT",
            scores.difference("pivots", "sft", "skills_mean"),
            better="The claim holds here.",
            worse="The claim does not hold here.",
            undecided="No difference is shown here.",
        )
    )
    return _bullets(words)


def _turns(scores: Scores) -> str:
    words = ["The paper reports the accuracy of end-to-end RL for a quarter of its rollout turns, mining not counted."]
    target, cost = scores.mean("end_to_end", "greedy"), scores.cost("end_to_end")
    if target.mean is None or cost is None:
        return f"{words[0]} End-to-end RL is {MISSING} here."
    count = len(target.values)
    words.append(
        f"Here end-to-end RL solves {percent(target.mean)} of the greedy episodes after {cost.turns:,} turns, with "
        f"those that filter its tasks ({count} seed{'s' if count > 1 else ''}). Each arm below: turns to its first "
        "measured policy that is as good, mining included."
    )
    reached: list[str] = []
    for arm in ("pivots", "mined_again", "pivots_demonstrations", "sft_then_pivots"):
        turns, most = scores.reached(arm, target.mean), scores.cost(arm)
        each = (
            [f"{n:,}" if n is not None else f"not reached within {most.turns:,}" for n in turns] if most else [MISSING]
        )
        reached.append(f"{ARMS[arm].title}: {', '.join(each)}.")
    words += reached
    words.append(f"In {_dead(scores, 'end_to_end')} of the groups of end-to-end RL all episodes had the same outcome.")
    if count < MIN_SEEDS:
        words.append("Too few seeds to conclude from.")
    return _bullets(words)


def _dead(scores: Scores, arm: str) -> str:
    """The share of the arm's training groups without a signal."""
    cost = scores.cost(arm)
    return percent(cost.dead_groups / cost.groups) if cost and cost.groups else MISSING


def _ablation(scores: Scores) -> str:
    words = [
        "The paper reports 63.81 for both, 59.68 for random states with functional reward and 57.34 for random states "
        "with strict reward. It has no cell of pivots with strict reward. Here, in greedy episodes:"
    ]
    for ours, theirs, what in (
        ("pivots", "random", "Pivots in place of random states"),
        ("pivots", "pivots_strict", "Functional in place of strict reward, on pivots"),
        ("random", "random_strict", "Functional in place of strict reward, on random states"),
        ("mined_again", "pivots", "Mining again"),
        ("mixed", "pivots", "No bound on the mean"),
    ):
        words.append(
            finding(
                what,
                scores.difference(ours, theirs, "greedy"),
                better="It is worth more than its interval.",
                worse="It does harm.",
                undecided="It is not worth more than its interval.",
            )
            + _rates(scores, ours, theirs)
        )
    words.append(
        f"Groups without a signal, whose rewards are all equal: pivots {_dead(scores, 'pivots')}, random states "
        f"{_dead(scores, 'random')}."
    )
    return _bullets(words)


def _rates(scores: Scores, *arms: str) -> str:
    """The learning rates of arms that were tuned to different ones; empty if they are the same."""
    rates = [next((cell["settings"]["learning_rate"] for cell in scores.cells[arm].values()), None) for arm in arms]
    if None in rates or len(set(rates)) == 1:
        return ""
    return f" The arms' learning rates differ too: {' and '.join(f'{rate:g}' for rate in rates)}."


def conclusions(scores: Scores) -> str:
    """A list of what the arms of the README's table say."""
    words = [
        finding(
            f"{question}, {measure} episodes",
            scores.difference(ours, theirs, measure),
            better="A gain.",
            worse="A loss.",
            undecided="No difference is shown.",
        )
        for question, ours, theirs, measure in (
            ("Pivots in place of SFT", "pivots", "sft", "greedy"),
            ("Pivots after SFT, over SFT alone", "sft_then_pivots", "sft", "greedy"),
            ("Pivots after SFT, over SFT alone", "sft_then_pivots", "sft", "sampled"),
            ("Pivots in place of as many random states", "pivots", "random", "greedy"),
        )
    ]
    return "\n".join(f"- {one}" for one in words)


_CLAIMS: dict[str, Callable[[Scores], str]] = {
    "Claim 1: better in the domain than SFT": _in_domain,
    "Claim 2: nothing lost outside": _outside,
    "Claim 3: end-to-end RL's accuracy for a quarter of the turns": _turns,
    "Claim 4: pivots and functional rewards both matter": _ablation,
}


def guide(scores: Scores, never_probability: float | None) -> Sequence[Sequence[str]]:
    """Rows (what the profile shows, what the evidence speaks for, the evidence) of the decision guide.

    never_probability: median probability of the demonstration in states that the policy never solves.
    """
    rows = (
        (
            "20 % or more of the states never, and demonstrations exist",
            ("sft", "pivots", "greedy"),
            ("SFT; not pivots alone", "pivots; SFT is not needed"),
        ),
        (
            "the same, after SFT",
            ("sft_then_pivots", "sft", "sampled"),
            ("mine the policy that SFT made, and train on its pivots", "stop after SFT"),
        ),
        (
            "the same, with time for one training only",
            ("sft", "pivots_demonstrations", "greedy"),
            ("SFT", "pivots with a demonstration loss"),
        ),
        (
            "RL has a demonstration loss already",
            ("pivots_demonstrations", "demonstrations", "sampled"),
            ("train on pivots next to it", "the demonstration loss alone"),
        ),
        (
            "RL is to sample recorded states",
            ("pivots", "random", "greedy"),
            ("mine pivots first", "random states: they need no mining"),
        ),
        (
            "skills outside must not suffer",
            ("pivots", "sft", "skills_mean"),
            ("pivots rather than SFT", "SFT rather than pivots"),
        ),
        (
            "an environment judges episodes, and there are no demonstrations",
            ("end_to_end", "base", "greedy"),
            ("end-to-end RL on tasks that are sometimes solved", "no training"),
        ),
    )
    shown: list[Sequence[str]] = []
    for profile, (ours, theirs, measure), advice in rows:
        found = scores.difference(ours, theirs, measure)
        what = f"{ARMS[ours].title} − {ARMS[theirs].title}, {measure.removesuffix('_mean')}: {said(found)}"
        shown.append((profile, _advice(found, *advice), what))
    return [
        *shown,
        ("never about 5 %, or about 40 %", "not known", f"base policies of such worlds: {MISSING}"),
        _improbable(never_probability),
    ]


def _improbable(probability: float | None) -> tuple[str, str, str]:
    shown = "demonstrations of the never-states are improbable under the policy"
    if not probability:
        return shown, "not known", MISSING
    words = "learn them from demonstrations: more samples do not find them"
    return shown, words, f"median {probability:.1e} here: word by word, one in {1 / probability:.0e} samples"


def _advice(found: Estimate, better: str, worse: str) -> str:
    """In words that grow with the evidence."""
    if found.mean is None:
        return "not known"
    known = sign(found)
    if known is None:
        return f"so far it looks like: {better if found.mean > 0 else worse}"
    return {1: better, -1: worse, 0: "either; no difference is shown"}[known]
