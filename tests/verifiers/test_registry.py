"""Names, options and ids of verifiers, and what importing them costs."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

import pivotmine.verifiers
from pivotmine.errors import UserError
from pivotmine.verifiers import VERIFIERS, make_spec


def test_the_exported_names_are_there_and_no_others() -> None:
    exported = {
        "Judge", "Outcome", "State", "VERIFIERS", "Verdict", "Verifier", "VerifierSpec", "make_spec",
        "passes_gate", "prepare", "verify",
    }  # fmt: skip
    assert set(pivotmine.verifiers.__all__) == exported
    assert all(hasattr(pivotmine.verifiers, name) for name in exported)


def test_importing_the_verifiers_imports_the_standard_library_only() -> None:
    script = (
        "import sys; before = set(sys.modules); import pivotmine.verifiers\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - {'pivotmine'}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=paths, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(VERIFIERS))
def test_every_verifier_has_an_id_of_name_and_hash(name: str) -> None:
    spec = make_spec(name, {})
    assert re.fullmatch(f"{name}-[0-9a-f]{{8}}", spec.verifier_id)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert (spec.handles("tool_call"), spec.handles("message")) == (True, name == "recorded")


def test_the_id_tells_options_and_versions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, declared = make_spec("tool_call", {}), make_spec("tool_call", {"free_text": ["search.query"]})
    assert plain.options_json == '{"free_text":[]}'
    assert declared.options_json == '{"free_text":["search.query"]}'
    before = plain.verifier_id
    assert make_spec("tool_call", {"free_text": []}).verifier_id == before
    assert declared.verifier_id != before
    raised = replace(VERIFIERS["tool_call"], version=VERIFIERS["tool_call"].version + 1)
    monkeypatch.setitem(VERIFIERS, "tool_call", raised)
    assert plain.verifier_id != before


def test_the_ids_of_stored_scores_stay() -> None:
    # A change of one of these orphans every score already computed: raise the version on purpose.
    assert make_spec("exact", {}).verifier_id == "exact-fdb7bf05"
    assert make_spec("tool_call", {}).verifier_id == "tool_call-23490406"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("exakt", {}, 'no verifier "exakt": choose one of exact, recorded, tool_call'),
        ("exact", {"free_text": []}, 'verifier exact has no option "free_text": its options are none'),
        (
            "tool_call",
            {"freetext": []},
            'verifier tool_call has no option "freetext": its options are free_text',
        ),
        (
            "tool_call",
            {"free_text": "a.b"},
            "verifier tool_call, option free_text: must be a list of strings, is 'a.b'",
        ),
        (
            "tool_call",
            {"free_text": ["a.b", 1]},
            "verifier tool_call, option free_text: must be a list of strings, is ['a.b', 1]",
        ),
        (
            "tool_call",
            {"free_text": ["query"]},
            'verifier tool_call, option free_text: "query" names no argument: write "tool.argument" or "*.argument"',
        ),
    ],
)
def test_a_wrong_config_says_what_is_allowed(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec(name, options)
    assert str(raised.value) == message
