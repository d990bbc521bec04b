from typing import Any

import pytest

from pivotmine.messages import problem
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine.readers.whole_context import find_gap, part_of, prepare

USER: dict[str, Any] = {"role": "user", "content": "u"}
SAID: dict[str, Any] = {"role": "assistant", "content": "a"}
LEGACY: dict[str, Any] = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
NAMED: dict[str, Any] = {"role": "function", "name": "f", "content": "r"}


def calls(*ids: str | None) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def gives(call_id: str | None) -> dict[str, Any]:
    return {"role": "tool", "content": "r"} | ({} if call_id is None else {"tool_call_id": call_id})


def gap(messages: list[Any], **fields: Any) -> tuple[int, str] | None:
    found = find_gap([part_of(message) for message in messages], Segment(messages=messages, **fields))
    return None if found is None else (found.position, found.reason)


@pytest.mark.parametrize(
    "messages",
    [
        [USER, SAID, USER, SAID],
        [USER, calls("a", "b"), gives("b"), gives("a"), SAID],
        [USER, calls("a", "a"), gives("a"), gives("a"), SAID],
        [USER, calls("a"), gives("a"), calls("a"), gives("a"), SAID],
        [USER, calls("a"), gives("a"), gives("a"), SAID],
        [USER, calls("a"), USER, gives("a"), SAID],
        [USER, calls(None, None), gives(None), gives("x"), SAID],
        [USER, LEGACY, NAMED, SAID],
        [USER, calls("a"), gives(None), SAID],
        [USER, calls("a")],
        [{"role": "system", "content": "s"}, calls("a"), gives("a"), SAID],
        [USER, SAID, SAID],
    ],
)
def test_whole_exchanges_have_no_gap(messages: list[Any]) -> None:
    assert gap(messages) is None


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([SAID, USER, SAID], (0, "unrecorded_context")),
        ([calls("a"), gives("a"), SAID], (0, "unrecorded_context")),
        ([USER, calls("a"), SAID], (2, "unrecorded_context")),
        ([USER, calls("a"), USER, SAID], (3, "unrecorded_context")),
        ([USER, calls("a", "b"), gives("a"), SAID], (3, "unrecorded_context")),
        ([USER, LEGACY, SAID], (2, "unrecorded_context")),
        ([USER, calls("a"), gives("z"), SAID], (2, "orphan_result")),
        ([USER, gives("z"), SAID], (1, "orphan_result")),
        ([USER, calls("a"), gives("a"), SAID, gives("a"), SAID], (4, "orphan_result")),
        ([USER, gives("a"), calls("a"), SAID], (1, "early_result")),
        ([gives(None), SAID], (0, "orphan_result")),
    ],
)
def test_the_first_gap_and_its_reason(messages: list[Any], found: tuple[int, str]) -> None:
    assert gap(messages) == found
    assert gap(messages, verbatim=True) is None
    assert gap(messages, num_inherited=len(messages)) is None


def test_calls_that_were_sent_without_results_are_no_gap_of_the_log() -> None:
    messages = [USER, calls("a"), SAID, calls("b"), SAID]
    assert gap(messages, num_inherited=2) == (4, "unrecorded_context")


def prepared(*messages: Any, **metadata: Any) -> Segment:
    return prepare(Trajectory(segments=(Segment(messages=list(messages)),), metadata=metadata)).segments[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [({"t": 3}, '{"t":3}'), (3, "3"), (True, "true"), (["a", "b"], '["a","b"]'), ([{"n": 1}], '[{"n":1}]')],
)
def test_results_that_are_no_text_become_their_json(content: Any, text: str) -> None:
    assert prepared(USER, {**gives("a"), "content": content}).messages[1] == {**gives("a"), "content": text}


def test_what_is_in_order_stays_as_it_is() -> None:
    blocks = {**gives("a"), "content": [{"type": "text", "text": "x"}]}
    found = Trajectory(segments=(Segment(messages=[USER, blocks, SAID]),))
    assert prepare(found) is found


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        ("<image>what?", {}, "image"),
        ("what?", {"images": ["a.png"]}, "image"),
        ("what?", {"image": "https://x.org/a.PNG"}, "image"),
        ("what?", {"image": {"bytes": "x"}}, "image"),
        ("<video>what?", {"videos": ["a.mp4"]}, "video"),
        ("what?", {"audios": ["a.wav"]}, "audio"),
        ("what?", {"image": "docker.io/swe/x:latest", "images": [], "videos": None}, None),
        ("a <b> tag", {}, None),
    ],
)
def test_media_beside_the_messages_are_rejects(text: str, columns: dict[str, Any], reason: str | None) -> None:
    messages = prepared({"role": "user", "content": text}, SAID, **columns).messages
    found = [problem(message) for message in messages]
    assert [one and one[0] for one in found] == [reason, None]


def test_greetings_are_context_and_no_turns() -> None:
    assert prepared(SAID, USER, SAID).num_inherited == 1
    assert prepared(SAID, SAID, USER, SAID).num_inherited == 2
    assert prepared(calls("a"), gives("a"), SAID).num_inherited == 0
    assert prepared(SAID).num_inherited == 0
    rewarded = Trajectory(segments=(Segment(messages=[SAID, USER, SAID], rewards=(0, 1)),))
    assert prepare(rewarded).segments[0].rewards == (1,)
