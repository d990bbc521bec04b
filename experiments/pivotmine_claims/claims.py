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


def verdict(estimate: Estimate, better: str, worse: str, undecided: str) -> str:
    """The sentence that the difference allows."""
    if estimate.mean is None:
        return f"This is {MISSING}."
    found = sign(estimate)
    if found is None:
        return f"That is fewer than {MIN_SEEDS} seeds, so nothing is concluded."
    return {1: better, -1: worse, 0: undecided}[found]


def paragraphs(scores: Scores) -> list[tuple[str, str]]:
    """(heading, text) of each claim."""
    return [(heading, write(scores)) for heading, write in _CLAIMS.items()]


def _in_domain(scores: Scores) -> str:
    greedy, sampled = (scores.difference("pivots", "sft", how) for how in ("greedy", "sampled"))
    after = scores.difference("sft_then_pivots", "sft", "sampled")
    with_loss = scores.difference("pivots_demonstrations", "demonstrations", "sampled")
    return (
        "The paper reports 63.81 for PivotRL and 58.44 for SFT on the same demonstrations (tau2, base 44.35). "
        f"Here pivots differ from SFT by {said(greedy)} in greedy episodes and {said(sampled)} in sampled ones. "
        + verdict(
            greedy, "The claim holds here.", "The claim does not hold here.", "The two cannot be told apart here."
        )
        + f" {_never(scores)}"
        f" After SFT, pivots change sampled success by {said(after)}. "
        + verdict(after, "So pivots add to SFT.", "So pivots take from SFT.", "So no gain after SFT is shown.")
        + f" Next to a demonstration loss they change it by {said(with_loss)} over its matched control. "
        + verdict(with_loss, "So they add to it.", "So they take from it.", "So no gain over the control is shown.")
    )


def _never(scores: Scores) -> str:
    for cell in scores.cells["pivots"].values():
        found = cell["points"][-1]["ledger"][0]["found"]
        share = percent(found["never"] / sum(found.values()))
        return (
            f"Mining found that the base policy never solves {share} of the call states. No reward differs there, so "
            "pivots cannot teach them directly; demonstrations can."
        )
    return f"The share of states that bounds pivots is {MISSING}."


def _outside(scores: Scores) -> str:
    words = [
        "The paper reports a mean change outside the domain of -9.83 for SFT and +0.21 for PivotRL. Skills have a "
        "ceiling here (base "
        f"{percent(scores.mean('base', 'skills_mean').mean)}), so the KL to base on pre-training text is given too."
    ]
    for arm in ("sft", "pivots", "sft_then_pivots", "pivots_demonstrations"):
        skills, divergence = scores.difference(arm, "base", "skills_mean"), scores.mean(arm, "kl_to_base").mean
        more = "" if divergence is None else f", KL {divergence:.4f} nats a token"
        words.append(f"{ARMS[arm].title}: {said(skills)}{more}.")
    gap = scores.difference("pivots", "sft", "skills_mean")
    words.append(f"Pivots keep {said(gap)} more than SFT.")
    words.append(verdict(gap, "The claim holds here.", "The claim does not hold here.", "No difference is shown here."))
    return " ".join(words)


def _turns(scores: Scores) -> str:
    words = ["The paper reports the accuracy of end-to-end RL for a quarter of its rollout turns, mining not counted."]
    target = scores.mean("end_to_end", "greedy")
    if target.mean is None:
        return f"{words[0]} End-to-end RL is {MISSING} here."
    cost = scores.cost("end_to_end")
    assert cost is not None
    words.append(
        f"Here end-to-end RL solves {percent(target.mean)} of the greedy episodes after {cost.turns:,} turns, "
        f"filtering included ({len(target.values)} seed{'s' if len(target.values) > 1 else ''}). Turns to the first "
        "measured policy that is as good, mining included:"
    )
    for arm in ("pivots", "pivots_demonstrations", "sft_then_pivots", "mined_again"):
        reached = scores.reached(arm, target.mean)
        most = scores.cost(arm)
        if not reached or most is None:
            words.append(f"{ARMS[arm].title}: {MISSING}.")
        else:
            each = ", ".join(f"{n:,}" if n is not None else f"not reached within {most.turns:,}" for n in reached)
            words.append(f"{ARMS[arm].title}: {each}.")
    dead = cost.dead_groups / cost.groups if cost.groups else None
    words.append(f"Of the groups of end-to-end RL {percent(dead)} were dead: all episodes had the same outcome.")
    if len(target.values) < MIN_SEEDS:
        words.append(f"That is fewer than {MIN_SEEDS} seeds, so nothing is concluded.")
    return " ".join(words)


def _ablation(scores: Scores) -> str:
    words = [
        "The paper reports 63.81 for both, 59.68 for random states with functional reward and 57.34 with strict "
        "reward; it has no cell of pivots with strict reward. Here, in greedy episodes:"
    ]
    for ours, theirs, what in (
        ("pivots", "random", "pivots in place of random states"),
        ("pivots", "pivots_strict", "functional in place of strict reward on pivots"),
        ("random", "random_strict", "functional in place of strict reward on random states"),
        ("mined_again", "pivots", "mining again"),
        ("mixed", "pivots", "dropping the bound on the mean"),
    ):
        found = scores.difference(ours, theirs, "greedy")
        more = {1: ": worth more than its interval", -1: ": harmful", 0: ": not more than its interval", None: ""}
        words.append(f"{what}, {said(found)}{more[sign(found)]};")
    words[-1] = words[-1][:-1] + "."
    return " ".join(words)


_CLAIMS: dict[str, Callable[[Scores], str]] = {
    "Claim 1: better in the domain than SFT": _in_domain,
    "Claim 2: nothing lost outside": _outside,
    "Claim 3: end-to-end RL's accuracy for a quarter of the turns": _turns,
    "Claim 4: pivots and functional rewards both matter": _ablation,
}


def guide(scores: Scores) -> Sequence[Sequence[str]]:
    """Rows (what the profile shows, what to do, evidence, how sure) of the decision guide."""
    rows = [
        (
            "a large share never (20 % or more), and demonstrations exist",
            "do not train on pivots alone; do SFT or add a demonstration loss",
            scores.difference("sft", "pivots", "greedy"),
            "SFT over pivots, greedy",
        ),
        (
            "never is small after SFT, sometimes is not",
            "mine the policy that SFT made, and train on its pivots",
            scores.difference("sft_then_pivots", "sft", "sampled"),
            "SFT then pivots over SFT, sampled",
        ),
        (
            "skills outside must not suffer",
            "prefer pivots, or pivots with a demonstration loss, to SFT",
            scores.difference("pivots_demonstrations", "sft", "skills_mean"),
            "pivots + demonstration loss over SFT, skills",
        ),
        (
            "no demonstrations that can be imitated, an environment that judges episodes",
            "end-to-end RL, with tasks filtered",
            scores.difference("end_to_end", "base", "greedy"),
            "end-to-end RL over base, greedy",
        ),
    ]
    known = [
        (shown, do, f"{what}: {said(found)}", verdict(found, "supported", "contradicted", "not shown"))
        for shown, do, found, what in rows
    ]
    open_rows = [
        ("never about 5 %, or about 40 %", "not known", f"base policies of the two other worlds: {MISSING}", "–"),
        (
            "demonstrations likely, or unlikely, under the policy",
            "not known",
            f"demonstration probability: {MISSING}",
            "–",
        ),
    ]
    return [*known, *open_rows]
