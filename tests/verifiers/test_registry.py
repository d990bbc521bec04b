"""Names, options and ids of verifiers, and the cost of importing them."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from specs import SPECS

import pivotmine.verifiers
from pivotmine.errors import UserError
from pivotmine.verifiers import VERIFIERS, make_spec


def test_the_exported_names_are_there_and_no_others() -> None:
    exported = {
        "Scorer", "Outcome", "State", "VERIFIERS", "Verdict", "Verifier", "VerifierSpec", "make_spec",
        "passes_gate", "prepare", "resolve", "verify",
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


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_verifier_has_an_id_of_name_and_hash_and_is_made_again_from_its_options(name: str) -> None:
    spec = SPECS[name]
    assert re.fullmatch(f"{name}-[0-9a-f]{{8}}", spec.verifier_id)
    assert pickle.loads(pickle.dumps(spec)) == spec
    again = make_spec(spec.name, json.loads(spec.options_json))
    assert (again, hash(again), again.verifier_id) == (spec, hash(spec), spec.verifier_id)
    assert spec.handles("tool_call") or spec.handles("message")


def test_the_id_tells_options_and_versions_apart() -> None:
    plain, declared = make_spec("tool_call", {}), make_spec("tool_call", {"free_text": ["search.query"]})
    rest = '"ignore":[],"parallel":"strict","tolerance":0.0,"unordered":[]}'
    assert plain.options_json == '{"alternatives":[],"any_case":[],"dates":[],"exact":[],"free_text":[],' + rest
    assert (
        declared.options_json
        == '{"alternatives":[],"any_case":[],"dates":[],"exact":[],"free_text":["search.query"],' + rest
    )
    before = plain.verifier_id
    assert make_spec("tool_call", {"free_text": []}).verifier_id == before
    assert declared.verifier_id != before
    raised = replace(plain.verifier, version=plain.verifier.version + 1)
    assert replace(plain, verifier=raised).verifier_id != before


def test_the_ids_of_stored_scores_stay() -> None:
    # A change of one of these orphans every score already computed: raise the version on purpose.
    assert make_spec("exact", {}).verifier_id == "exact-fdb7bf05"
    assert make_spec("tool_call", {}).verifier_id == "tool_call-09ee6b2f"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("exakt", {}, f'no verifier "exakt": choose one of {", ".join(sorted(VERIFIERS))}'),
        ("exact", {"free_text": []}, 'verifier exact has no option "free_text": its options are none'),
        (
            "tool_call",
            {"freetext": []},
            'verifier tool_call has no option "freetext": its options are alternatives, any_case, dates, exact, '
            "free_text, ignore, parallel, tolerance, unordered",
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
        (
            "tool_call",
            {"dates": [".day"]},
            'verifier tool_call, option dates: ".day" names no argument: write "tool.argument" or "*.argument"',
        ),
        (
            "tool_call",
            {"parallel": "f2"},
            "verifier tool_call, option parallel: must be one of strict, fractional, f1, is 'f2'",
        ),
        (
            "tool_call",
            {"tolerance": -0.1},
            "verifier tool_call, option tolerance: must be at least 0 and below 1, is -0.1",
        ),
        (
            "tool_call",
            {"tolerance": float("nan")},
            "verifier tool_call, option tolerance: must be at least 0 and below 1, is nan",
        ),
        ("tool_call", {"tolerance": "1"}, "verifier tool_call, option tolerance: must be a number, is '1'"),
    ],
)
def test_a_wrong_config_says_what_is_allowed(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec(name, options)
    assert str(raised.value) == message
