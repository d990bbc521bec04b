"""The tokens of an episode are the conversation that the desk saw, and its ledger counts what was sampled."""

from pathlib import Path

import pytest
import torch

from pivotmine_claims.ledger import Cost, total
from pivotmine_claims.whole_episodes import Episode, cost_of_episodes, filter_tasks, sample_episodes
from pivotmine_desk.conversation import END_OF_TURN, render
from pivotmine_desk.evaluate import prompt_ids
from pivotmine_desk.sampling import Policy, load_policy
from pivotmine_desk.tasks import numbered_task, tool_definitions

DESK = Path(__file__).parents[2] / "data" / "desk" / "policy"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(DESK)


def histories(episode: Episode) -> int:
    """Tokens before each turn, summed over the turns."""
    own = episode.is_own
    starts = [place for place, mine in enumerate(own) if mine and not (place and own[place - 1])]
    return sum(len(episode.prompt) + start for start in starts)


def test_the_tokens_of_an_episode_are_its_conversation(policy: Policy) -> None:
    torch.manual_seed(0)
    tasks = [numbered_task("train", number) for number in (0, 0, 1, 2)]
    episodes = sample_episodes(policy, tasks)
    end = policy.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    for task, episode in zip(tasks, episodes, strict=True):
        tools, messages = tool_definitions(task.domain), episode.run.messages
        assert episode.prompt == prompt_ids(policy, messages[:2], tools)
        said = [token for token, own in zip(episode.said, episode.is_own, strict=True) if own]
        assert said.count(end) == episode.turns
        assert episode.is_own[0]
        assert episode.is_own[-1]
        # Every turn but the last acted; the last one is a message, which the desk does not keep.
        num_acting = sum(message["role"] == "assistant" for message in messages)
        assert num_acting == episode.turns - 1
        text = policy.tokenizer.decode([*episode.prompt, *episode.said])
        assert text.startswith(render(policy.tokenizer, messages, tools, prompt=True))
        assert episode.reward in (0.0, 1.0)
    first, second = episodes[:2]
    assert first.prefilled == histories(first)
    assert second.prefilled <= histories(second) - len(second.prompt)  # the first turn's prompt was computed already


def test_the_filter_keeps_tasks_that_are_sometimes_solved(policy: Policy) -> None:
    found = filter_tasks(DESK, tasks=6, episodes=3, seed=0)
    assert sum(found["profile"].values()) == 6
    assert len(found["tasks"]) == found["profile"].get("sometimes", 0)
    assert found["cost"]["turns"] >= 18
    assert filter_tasks(DESK, tasks=6, episodes=3, seed=0) == found


def test_a_step_that_is_repeated_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    for step, turns in ((1, 5), (2, 6), (1, 5), (3, 7)):
        path = tmp_path / "episodes" / f"step-{step:05d}.json"
        path.write_text(f'{{"turns": {turns}, "groups": 2, "dead_groups": 1}}', encoding="utf-8")
    assert cost_of_episodes(tmp_path, up_to=2) == total([Cost(turns=11, groups=4, dead_groups=2)])
