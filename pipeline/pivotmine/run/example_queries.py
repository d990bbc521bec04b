"""Named queries for `pivotmine sql RUN --example NAME`; `docs/queries.md` shows each with its output.

Statistics belong to one policy and one verifier, and a run may have several. So each query on `profiles` or `scores`
returns both ids instead of mixing their states.
"""

from __future__ import annotations

from typing import NamedTuple


class ExampleQuery(NamedTuple):
    title: str
    """The question, in a few words."""
    statement: str


EXAMPLES: dict[str, ExampleQuery] = {
    "classes": ExampleQuery(
        "How many states are never, sometimes and always solved",
        """
        select policy_id, verifier_id, reward_class, count(*) as states, round(avg(mean), 3) as mean
        from profiles group by all order by all
        """,
    ),
    "domains": ExampleQuery(
        "Classes by domain",
        """
        select policy_id, verifier_id, domain, reward_class, count(*) as states
        from profiles join states using (state_id) group by all order by all
        """,
    ),
    "tools": ExampleQuery(
        "Which tools the policy fails to call",
        """
        select policy_id, verifier_id, json_extract_string(demonstration, '$.tool_calls[0].name') as tool,
            count(*) as states, round(avg(mean), 3) as mean
        from profiles join states using (state_id) group by all order by mean, tool limit 10
        """,
    ),
    "outcomes": ExampleQuery(
        "Why samples earned what they earned",
        """
        select policy_id, verifier_id, outcome, count(*) as samples, round(avg(reward), 3) as reward
        from last_scores group by all order by policy_id, verifier_id, samples desc, outcome
        """,
    ),
    "never": ExampleQuery(
        "States that are never solved, with what was demonstrated",
        """
        select policy_id, verifier_id, state_id, domain, demonstration
        from profiles join states using (state_id) where reward_class = 'never' order by all limit 5
        """,
    ),
    "hardest-pivots": ExampleQuery(
        "Pivots with the lowest mean",
        """
        select policy_id, verifier_id, state_id, mean, variance, num_samples
        from profiles where reward_class = 'sometimes' order by policy_id, verifier_id, mean, state_id limit 5
        """,
    ),
    "samples": ExampleQuery(
        "What the policy did in the state of greatest variance, and how often",
        """
        with chosen as (
            select policy_id, verifier_id, state_id from profiles
            qualify row_number() over (partition by policy_id, verifier_id order by variance desc, state_id) = 1
        )
        select policy_id, verifier_id, state_id, reward, outcome, action, count(*) as samples
        from last_scores semi join chosen using (policy_id, verifier_id, state_id)
        group by all order by policy_id, verifier_id, samples desc, action
        """,
    ),
    "unanimous": ExampleQuery(
        "States never solved where all samples do the same: look at the demonstration",
        """
        select policy_id, verifier_id, state_id, any_value(action) as action, count(*) as samples
        from last_scores group by all having max(reward) = 0 and count(distinct action) = 1
        order by samples desc, state_id limit 5
        """,
    ),
    "depth": ExampleQuery(
        "Mean reward by the turn's place in its trajectory",
        """
        select policy_id, verifier_id, turn_index, count(*) as states, round(avg(mean), 3) as mean
        from profiles join states using (state_id) join turns using (turn_id) group by all order by all
        """,
    ),
    "truncated": ExampleQuery(
        "Share of samples that hit the token budget",
        """
        select policy_id, count(*) as samples, avg((finish_reason = 'length')::int) as truncated
        from last_rollouts group by all order by all
        """,
    ),
    "tokens": ExampleQuery(
        "Generated tokens and prompt tokens, by policy",
        """
        select policy_id, count(*) as states, sum(samples)::bigint as samples, sum(generated)::bigint as generated,
            sum(prompt)::bigint as prompt
        from (
            select policy_id, state_id, count(*) as samples, sum(num_tokens) as generated,
                max(num_prompt_tokens) as prompt
            from last_rollouts group by all
        ) group by all order by all
        """,
    ),
    "rejects": ExampleQuery(
        "What was dropped, by stage and reason",
        """
        select stage, reason, count(*) as rows, min(detail) as example from rejects group by all order by all
        """,
    ),
    "datasets": ExampleQuery(
        "Rows of the pivot datasets",
        """
        select pivots_name, policy_id, scores_verifier_id, domain, count(*) as rows, round(avg(mean), 3) as mean
        from pivots group by all order by all
        """,
    ),
}
