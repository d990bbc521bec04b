from typing import Any

import pytest

from pivotmine.readers.tau_bench import matches, read
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory

MESSAGES = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
RECORD: dict[str, Any] = {"task_id": 3, "trial": 1, "reward": 0.0, "info": {"task": "t"}, "traj": MESSAGES}


def test_a_record_with_everything() -> None:
    assert read(RECORD) == Trajectory(
        segments=(Segment(messages=MESSAGES),), task_id="3", outcome=0.0, metadata={"trial": 1, "info": {"task": "t"}}
    )


def test_what_matches() -> None:
    assert matches(RECORD)
    assert not any(matches({k: v for k, v in RECORD.items() if k != key}) for key in ("traj", "reward", "task_id"))
    assert not any(matches(record) for record in (MESSAGES, "traj reward task_id", None))


@pytest.mark.parametrize("record", [{**RECORD, "traj": "x"}, {**RECORD, "traj": None}, {}, [], "x"])
def test_a_record_without_messages_is_a_bad_trajectory(record: Any) -> None:
    with pytest.raises(BadTrajectory) as raised:
        read(record)
    assert (raised.value.reason, raised.value.detail) == ("no_messages", "no list of messages under `traj`")
