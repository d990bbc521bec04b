"""Whether a selection can use profiles that adaptive profiling stopped early."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from pivotmine.counts import counted
from pivotmine_stages.profiles.stopping import StoppingRule, is_decided, rewards_of, rule_of
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.strategies import STRATEGIES, by_variance


def undecided(profiles: pl.DataFrame, config: SelectConfig) -> str | None:
    """Return why the stopped profiles cannot answer this selection, in one line; None if they can."""
    rule = rule_of(profiles)
    if rule is None:
        return None
    where = f"profiles were stopped by `--adaptive {rule.rule}` for --max-mean {rule.max_mean}"
    if problem := unfit(config, rule):
        return f"{problem}: {where}"
    bound = STRATEGIES[config.strategy].max_mean
    if rule.rule == "probabilistic" or bound is None:
        return None
    asked = replace(rule, max_mean=bound(config), min_scored=config.min_scored)
    stopped = profiles.filter(pl.col("stopping").is_not_null() & (pl.col("num_scored") > 0))
    if open_states := sum(
        not is_decided(rewards_of(row), asked, config.min_decided) for row in stopped.iter_rows(named=True)
    ):
        return f"{counted(open_states, 'state is', 'states are')} undecided for this selection: {where}"
    return None


def unfit(config: SelectConfig, rule: StoppingRule) -> str | None:
    """Return why no profile that the rule stopped can answer this selection; None if it depends on the profiles."""
    strategy = STRATEGIES[config.strategy]
    order = {
        "--variance-share": config.variance_share,
        "--max-rows": config.limit,
        "--max-per-trajectory": config.max_per_trajectory,
        "--max-per-domain": config.max_per_domain,
        "--domain-quota": config.domain_quota or None,
        "--max-message-share": config.max_message_share,
    }
    by_order = next((flag for flag, value in order.items() if value is not None), None)
    if config.variance_share is not None or (rule.rule == "exact" and by_order and strategy.order is by_variance):
        return f"{by_order} needs the variance of all samples"
    by_mean = {"--min-mean": config.min_mean, "--target-mean": config.target_mean}
    if flag := next((flag for flag, value in by_mean.items() if value is not None), None):
        return f"{flag} needs the mean of all samples"
    if config.holdout == "half":
        return "--holdout half needs samples that no rule has looked at"
    if strategy.needs_profiles and config.min_scored > rule.min_scored:
        return f"--min-scored {config.min_scored} needs more samples than {rule.min_scored}"
    if rule.rule != "probabilistic" or strategy.max_mean is None or strategy.max_mean(config) == rule.max_mean:
        return None
    is_option = strategy.max_mean(config) == config.max_mean
    return f"{f'--max-mean {config.max_mean}' if is_option else f'--strategy {config.strategy}'} is undecided"
