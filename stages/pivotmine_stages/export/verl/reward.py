"""The reward function that verl calls, on rows of `export --to verl`.

    reward.custom_reward_function.path=pkg://pivotmine_stages.export.verl.reward

verl hands over text that has lost its special tokens, among them tool-call markers and the end of the turn. So the
text is taken from `extra_info.completion`, where `prompt_loop` has put it with special tokens kept.

verl has no sample without a reward. One that nobody could judge gets the mean reward that mining found in its state:
an advantage of about 0, where a 0 would teach that the action was wrong. The metric `unscored` counts these.
"""

from __future__ import annotations

from typing import Any

from pivotmine.errors import UserError
from pivotmine.verifiers.dataset_rows import judge_action, read_completion

COMPLETION, TRUNCATED = "completion", "completion_truncated"
"""What `prompt_loop` adds to `extra_info`: the text without its end-of-turn token, and whether that was missing."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any],
    verifier: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """The verdict as verl wants it: `score` trains, the rest is logged.

    data_source, solution_str, ground_truth: not read; the row in `extra_info` has all that decides. verifier: one for
    all rows instead of each row's own (`+reward.custom_reward_function.reward_kwargs.verifier=exact`). others: what
    verl adds when it has a reward model.

    UserError if the completion is missing, or the installed verifier is not the one that scored the row.
    """
    if COMPLETION not in extra_info:
        raise UserError(
            f"state {extra_info.get('state_id')}: the completion has lost its special tokens; set "
            "actor_rollout_ref.rollout.agent.agent_loop_config_path to agent_loops.yaml of the exported folder"
        )
    action = read_completion(extra_info, extra_info[COMPLETION], truncated=extra_info[TRUNCATED])
    verdict = judge_action(extra_info, action, verifier)
    score = verdict.reward
    if score is None:
        score = extra_info["mean"] or 0.0
    return {"score": score, "outcome": str(verdict.outcome), "unscored": float(verdict.reward is None)}
