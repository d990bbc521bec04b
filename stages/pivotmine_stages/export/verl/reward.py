"""The reward function that verl calls, on rows of `export --to verl`.

    reward.custom_reward_function.path=pkg://pivotmine_stages.export.verl.reward

verl passes text without special tokens, so that tool-call markers and the end of the turn are lost. The function reads
`extra_info.completion` instead, where `prompt_loop` puts the text with them.

verl needs a reward for every sample. A sample that the verifier cannot judge gets the mean reward that mining found in
its state, for an advantage of about 0; a reward of 0 would teach that the action was wrong. The metric `unscored`
counts these samples.
"""

from __future__ import annotations

from typing import Any

from pivotmine.errors import UserError
from pivotmine.verifiers.dataset_rows import judge_action, read_completion

COMPLETION, TRUNCATED = "completion", "completion_truncated"
"""Keys that `prompt_loop` adds to `extra_info`: the text without its end-of-turn token, and whether it had none."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any],
    verifier: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """The verdict in verl's form: `score` is the reward, the rest is logged.

    data_source, solution_str, ground_truth: ignored, since `extra_info` has the row. verifier: one for all rows instead
    of each row's own (`+reward.custom_reward_function.reward_kwargs.verifier=exact`). others: arguments that verl adds
    if it has a reward model; ignored.

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
