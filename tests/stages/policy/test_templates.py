"""A chat template is foreign code: it has a time and a memory limit, and its failure costs only its prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import answered, called, make_run, policy_record, remember, rows, said, trajectory
from selecting import TEMPLATE, save_tokenizer

from pivotmine.errors import UserError
from pivotmine_stages.policy import templates
from pivotmine_stages.policy.templates import TemplateFailed, Templates
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select

FOREVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}"
HOSTILE = {
    "loops": FOREVER,
    "memory": "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "memory while it is compiled": "{{ 'a' * 100000000000 }}",
    "time while it is compiled": "{{ 9 ** (9 ** 9) }}",
    "a long text": "{% for i in range(99999) %}{{ x }}{% endfor %}",
}
ARGUMENTS = {"messages": [{"role": "user", "content": "hi"}], "x": "y" * 9000}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "CPU_S", 1.0)


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_template_that_takes_too_much_fails_and_the_next_prompt_is_rendered(template: str) -> None:
    found = Templates("t")
    with pytest.raises(TemplateFailed, match=r"took more than 1 s of processor time|^MemoryError"):
        found.render(template, ARGUMENTS)
    assert found.render("{{ messages[0].content }}", ARGUMENTS) == "hi"
    found.close()


def test_what_a_template_raises_is_told(tmp_path: Path) -> None:
    found = Templates("t")
    for template, words in (
        ("{{ raise_exception('no') }}", r"^TemplateError: no$"),
        ("{{ nonsense( }}", r"^TemplateSyntaxError: "),
        ("{{ messages.x.y }}", r"^UndefinedError: "),
        ("{{ ''.__class__.__mro__ }}", r"^SecurityError: "),
        ("{{ '\\ud800' }}", r"^UnicodeEncodeError: "),
    ):
        with pytest.raises(TemplateFailed, match=words):
            found.render(template, ARGUMENTS)
    with pytest.raises(TemplateFailed, match=r"^TypeError: "):
        found.render("x", {"messages": [object()]})
    found.close()


def test_a_template_that_never_ends_is_one_line_after_three_prompts() -> None:
    found = Templates("some/where")
    for _ in range(2):
        with pytest.raises(TemplateFailed):
            found.render(FOREVER, ARGUMENTS)
    assert found.render("x", ARGUMENTS) == "x"
    for _ in range(2):
        with pytest.raises(TemplateFailed):
            found.render(FOREVER, ARGUMENTS)
    with pytest.raises(
        UserError, match=r"^tokenizer some/where: its chat template took more than .* 3 prompts in a row"
    ):
        found.render(FOREVER, ARGUMENTS)


def test_an_interrupted_answer_is_not_the_next_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Templates("t")
    assert found.render("{{ x }}", {"x": "one"}) == "one"
    receive = templates._receive  # pyright: ignore[reportPrivateUsage]

    def interrupted(process: Any) -> bytes | None:
        raise KeyboardInterrupt

    monkeypatch.setattr(templates, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.render("{{ x }}", {"x": "two"})
    monkeypatch.setattr(templates, "_receive", receive)
    assert found.render("{{ x }}", {"x": "three"}) == "three"
    found.close()


def test_a_state_for_which_the_template_never_ends_is_a_reject(tmp_path: Path) -> None:
    looping = TEMPLATE + "{% if messages | length > 1 %}" + FOREVER + "{% endif %}"
    run = make_run(
        tmp_path,
        trajectory(said("x"), called("find", id="A"), answered("ok"), {"role": "assistant", "content": "Done."}),
    )
    remember(run, policy_record(tokenizer=str(save_tokenizer(tmp_path / "policy", looping))))
    summary = select(SelectConfig(strategy="all"), run)
    assert (summary.train + summary.validation, summary.rejects) == (1, {"template_error": 1})
    (reject,) = [row for row in rows(run, "rejects") if row["stage"] == "select"]
    assert reject["detail"] == "the chat template took more than 1 s of processor time or 2 GB of memory"
