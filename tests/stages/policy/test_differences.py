"""Messages before a second policy or verifier is made, and if several match."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from runs import policy_record

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine_stages.policy.differences import announce, ask, differences, telling_apart

SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64}


def policy(**changes: Any) -> dict[str, Any]:
    return asdict(policy_record(**changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"sampling": {**SAMPLING, "max_new_tokens": 512}}, ["max_new_tokens 64 -> 512"]),
        ({"template_options": {"enable_thinking": False}}, ["template.enable_thinking not given -> false"]),
        ({"adapter": "lora"}, ["adapter not given -> lora"]),
        ({"weights_hash": "v", "model": "/models/next"}, ["weights /models/policy -> /models/next"]),
        ({"weights_hash": "v"}, ["weights /models/policy have changed"]),
        ({"template_hash": "t"}, ["another chat template"]),
        ({"model": "/moved/policy", "policy_id": "other", "name": "other"}, []),
    ],
)
def test_policies_differ_in_words(change: dict[str, Any], words: list[str]) -> None:
    assert differences(policy(), policy(**change)) == words


def verifier(name: str, **options: Any) -> dict[str, Any]:
    import json

    return {"verifier": name, "options": json.loads(make_spec(name, options).options_json), "parser": "hermes"}


def test_verifiers_differ_in_the_options_of_the_verifiers_that_they_choose() -> None:
    spec = {"name": "tool_call", "options": {"free_text": ["*.body"]}}
    text = {"name": "text", "options": {}}
    chosen = verifier("auto", rules=[{"verifier": spec, "kind": "tool_call"}, {"verifier": text, "kind": "message"}])
    plain = {"name": "tool_call", "options": {}}
    other = verifier("auto", rules=[{"verifier": plain, "kind": "tool_call"}, {"verifier": text, "kind": "message"}])
    assert differences(other, chosen) == ['tool_call.free_text [] -> ["*.body"]']


def test_options_of_different_verifiers_are_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    judge, auto = verifier("judge"), verifier("auto", rules=[])
    assert differences(auto, judge) == ["verifier auto -> judge"]
    other = verifier("judge", max_tokens=64, model="m")
    named = {"a": auto, "j": judge, "k": other}
    assert telling_apart({"a": auto, "j": judge}) == "a (verifier auto), j (verifier judge)"
    assert telling_apart(named) == (
        'a (verifier auto), j (verifier judge, max_tokens 2048, model ""), k (verifier judge, max_tokens 64, model m)'
    )
    announce("verifier", other, {name: (one, "scores") for name, one in named.items() if name != "k"})
    assert caplog.messages == ['new verifier: max_tokens 2048 -> 64, model "" -> m, against j, which has scores']


def test_those_that_match_are_told_apart() -> None:
    known = {"a": policy(), "b": policy(sampling={**SAMPLING, "temperature": 0.5})}
    assert telling_apart(known) == "a (temperature 1.0), b (temperature 0.5)"


def test_a_new_policy_is_compared_with_the_nearest_one(caplog: pytest.LogCaptureFixture) -> None:
    far = policy(sampling={**SAMPLING, "temperature": 0.5, "top_k": 7}), "8 samples"
    announce(
        "policy", policy(sampling={**SAMPLING, "max_new_tokens": 512}), {"far": far, "x": (policy(), "4,800 samples")}
    )
    assert caplog.messages == ["new policy: max_new_tokens 64 -> 512, against x, which has 4,800 samples"]
    caplog.clear()
    announce("policy", policy(), {})
    assert caplog.messages == []


def test_a_person_may_say_no() -> None:
    for answer in (True, False):
        token = ask.set(lambda answer=answer: answer)
        try:
            if answer:
                announce("policy", policy(adapter="a"), {"x": (policy(), "8 samples")})
            else:
                with pytest.raises(UserError, match=r"^stopped: to continue with x, use its settings"):
                    announce("policy", policy(adapter="a"), {"x": (policy(), "8 samples")})
        finally:
            ask.reset(token)
