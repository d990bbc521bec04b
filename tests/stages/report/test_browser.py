"""The report in a browser, as a person uses it, compared with SQL over the run."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import Watched, browser, chromium
from mined_runs import HOSTILE, mined_run

from pivotmine.run import sql
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.stage import report
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select
from pivotmine_stages.view.options import ViewConfig
from pivotmine_stages.view.stage import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (Debian: apt install chromium)")

AXE = Path(__file__).parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"
POLICY = "policy-243826d65f48"
OLD_RUN = Path(__file__).parents[2] / "fixtures" / "old_run" / "run"


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_run(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def desk_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real trajectories and rollouts of the desk, scored again: its stored scores are of an older verifier."""
    run = Path(shutil.copytree(OLD_RUN, tmp_path_factory.mktemp("desk") / "run"))
    shutil.rmtree(run / "scores" / POLICY)
    score(ScoreConfig(policy=POLICY), run)
    return run


@pytest.fixture(scope="module")
def chosen_run(desk_run: Path) -> Path:
    """Two selections of the desk's profiles that share states and have states of their own, and an old one."""
    chosen = SelectConfig(policy=POLICY, tokenizer=str(OLD_RUN.parent / "policy"))
    half = number(desk_run, f"select count(*) // 2 from profiles where policy_id = '{POLICY}' and variance > 0")
    select(replace(chosen, name="hard", max_mean=0.6), desk_run)
    select(replace(chosen, name="mixed", strategy="mixed", limit=half), desk_run)
    return desk_run


def page_of(run: Path, opened: Browser, policy: str) -> tuple[str, Watched]:
    summary = report(ReportConfig(output=str(run / "page.html"), policy=policy), run)
    watched = Watched(opened.new_page())
    address = Path(summary.path).resolve().as_uri()
    watched.page.goto(address)
    watched.page.wait_for_selector("#list tbody tr")
    return address, watched


def number(run: Path, query: str) -> int:
    (row,) = sql.query(run, query).to_pylist()
    return next(iter(row.values()))


def test_filters_and_bounds_agree_with_the_run(desk_run: Path, opened: Browser) -> None:
    address, watched = page_of(desk_run, opened, policy=POLICY)
    page = watched.page
    mine = f"from profiles where policy_id = '{POLICY}'"
    assert watched.count() == number(desk_run, f"select count(*) {mine}")
    for kind in ("never", "sometimes", "always"):
        page.select_option("select[name=class]", kind)
        assert watched.count() == number(desk_run, f"select count(*) {mine} and reward_class = '{kind}'")
    page.click("text=Clear")
    tool = page.eval_on_selector("select[name=tool]", "select => select.options[1].value")
    page.select_option("select[name=tool]", tool)
    with_tool = f"'$.tool_calls[0].name') = '{tool}'"
    fitting = f"select state_id from states where json_extract_string(demonstration, {with_tool}"
    asked = f"select count(*) {mine} and state_id in ({fitting})"
    assert watched.count() == number(desk_run, asked)
    # The slider: at the end every state whose rewards differ, at the beginning none.
    page.fill("#lambda", page.get_attribute("#lambda", "max") or "")
    differing = number(desk_run, f"select count(*) {mine} and reward_class = 'sometimes'")
    assert sum(int(word) for word in page.inner_text("#rows").split(":")[1].split() if word.isdigit()) == differing
    page.fill("#lambda", "0")
    below = number(desk_run, f"select count(*) {mine} and reward_class = 'sometimes' and mean < 0.05")
    assert sum(int(word) for word in page.inner_text("#rows").split(":")[1].split() if word.isdigit()) == below
    assert (watched.messages, watched.requests) == ([], [address])


def test_two_selections_are_compared_state_by_state(chosen_run: Path, opened: Browser) -> None:
    address, watched = page_of(chosen_run, opened, policy=POLICY)
    page = watched.page
    page.select_option("#side-0", label=page.inner_text("#side-0 option >> nth=1"))
    page.select_option("#side-1", label=page.inner_text("#side-1 option >> nth=2"))
    mine, names = f"p.policy_id = '{POLICY}'", ("hard", "mixed")
    sides = {
        "only in hard": f"({in_selection('hard')}) and not ({in_selection('mixed')})",
        "in both": " and ".join(in_selection(name) for name in names),
        "only in mixed": f"({in_selection('mixed')}) and not ({in_selection('hard')})",
    }
    heads = page.eval_on_selector_all("#overlap table >> nth=0 >> th", "found => found.map(one => one.textContent)")
    assert heads == ["", *sides]
    rows = page.eval_on_selector_all(
        "#overlap tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    shown = {name: [int(cell) for cell in cells] for name, *cells in rows if name != "look"}
    counted = {
        name: [
            number(chosen_run, f"select count(*) from profiles p where {mine} and {side}") for side in sides.values()
        ]
        for name in ("states",)
    }
    domains = sql.query(chosen_run, "select distinct domain from pivots order by all").column(0).to_pylist()
    for name in domains:
        of = f"select count(*) from profiles p join states s using (state_id) where {mine} and s.domain = '{name}' and "
        counted[f"domain {name}"] = [number(chosen_run, of + side) for side in sides.values()]
    assert {name: cells for name, cells in shown.items() if name != "sometimes"} == counted
    assert shown["sometimes"] == shown["states"]
    assert min(shown["states"][0], shown["states"][2]) > 0
    # A number filters the list; the state says what each selection did with it.
    page.click("#overlap tbody tr >> nth=0 >> td >> nth=1 >> button")
    assert watched.count() == counted["states"][0]
    page.locator("#list tbody tr").first.click()
    page.wait_for_selector("#state .chosen")
    said = page.eval_on_selector_all("#state .chosen div", "found => found.map(one => one.textContent)")
    assert sorted(words.split(": ")[0].split()[0] for words in said) == [
        "pivots/default",
        "pivots/hard",
        "pivots/mixed",
    ]
    assert {words.split()[1] for words in said if words.startswith("pivots/hard")} <= {"training", "held-out"}
    assert [words for words in said if words.startswith("pivots/mixed")] == ["pivots/mixed left out: limit"]
    page.click("text=Clear")
    page.select_option("select[name=chosen]", label="in mixed")
    assert watched.count() == number(
        chosen_run, f"select count(*) from profiles p where {mine} and {in_selection('mixed')}"
    )
    assert (watched.messages, watched.requests) == ([], [address])


def in_selection(name: str) -> str:
    return f"state_id in (select state_id from pivots where pivots_name = '{name}')"


def test_a_state_opens_by_its_link_and_by_the_keyboard(desk_run: Path, opened: Browser) -> None:
    address, watched = page_of(desk_run, opened, policy=POLICY)
    page = watched.page
    page.keyboard.press("j")
    page.wait_for_selector("#state .group")
    first = page.evaluate("location.hash")
    page.keyboard.press("j")
    watched.until(
        f"location.hash !== '{first}' && document.querySelector('#state .mono').textContent === location.hash.slice(7)"
    )
    page.keyboard.press("Escape")
    watched.until("document.querySelector('#state').childElementCount === 0")
    again = Watched(opened.new_page())
    again.page.goto(address + first)
    again.page.wait_for_selector("#state .group")
    state_id = first.removeprefix("#state=")
    counts = again.page.eval_on_selector_all(
        "#state .group .head span:first-child", "found => found.map(one => parseInt(one.textContent))"
    )
    query = f"select count(*) from scores where policy_id = '{POLICY}' and state_id = '{state_id}'"
    assert sum(counts) == number(desk_run, query)
    assert (watched.messages, again.messages) == ([], [])


def test_hostile_text_is_shown_and_does_nothing(hostile_run: Path, opened: Browser) -> None:
    address, watched = page_of(hostile_run, opened, policy="policy-1")
    page = watched.page
    for row in range(6):
        page.locator("#list tbody tr").nth(row).click()
        page.wait_for_selector("#list tbody tr.open >> nth=0")
        page.wait_for_selector("#state .group")
    assert HOSTILE[:60] in page.inner_text("#state")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#state a[href^=javascript], main img, main iframe").count() == 0
    assert (watched.messages, watched.requests) == ([], [address])


def test_two_policies_are_compared(hostile_run: Path, opened: Browser) -> None:
    _, watched = page_of(hostile_run, opened, policy="policy-1")
    rows = watched.page.eval_on_selector_all(
        "#transitions tbody tr", "rows => rows.map(row => [...row.cells].slice(0, 3).map(cell => cell.textContent))"
    )
    assert rows == [["never", "always", "1"], ["sometimes", "always", "3"], ["always", "never", "2"]]
    watched.page.locator("#list tbody tr").first.click()
    watched.page.wait_for_selector("text=The same state under policy-2")


def test_view_serves_the_same_page_with_the_server_s_answers(hostile_run: Path, opened: Browser) -> None:
    viewer = Viewer(ViewConfig(policy="policy-1"), hostile_run)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    try:
        watched = Watched(opened.new_page())
        watched.page.goto(viewer.address)
        watched.page.wait_for_selector("#list tbody tr")
        assert watched.count() == 6
        with watched.page.expect_response("**/api/states*"):
            watched.page.select_option("select[name=class]", "sometimes")
        watched.until("document.querySelector('#found').textContent.startsWith('3 states')")
        watched.page.locator("#list tbody tr").first.click()
        watched.page.wait_for_selector("#state .group")
        watched.page.wait_for_selector("text=The same state under policy-2")
        watched.page.wait_for_selector("#state .side > div >> nth=1 >> .group")
        assert watched.page.locator("#transitions tbody tr").count() == 3
        assert watched.messages == []
        assert {url.split("?")[0] for url in watched.requests} == {
            f"http://127.0.0.1:{viewer.port}/{path}" for path in ("", "api/states", "api/state", "api/samples")
        }
    finally:
        viewer.close()
        thread.join()


def test_a_dark_page_is_printed_light(desk_run: Path, opened: Browser) -> None:
    _, watched = page_of(desk_run, opened, policy=POLICY)
    page = watched.page
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    shade = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(shade) == "rgb(20, 23, 27)"
    page.emulate_media(media="print")
    assert page.evaluate(shade) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_it_is_accessible_and_fits(
    hostile_run: Path, chosen_run: Path, opened: Browser, scheme: str, width: int
) -> None:
    # Long words in one, two selections side by side in the other.
    run, policy = (chosen_run, POLICY) if width == 1280 else (hostile_run, "policy-1")
    address, watched = page_of(run, opened, policy=policy)
    watched.page.close()
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(address)
    page.locator("#list tbody tr").first.click()
    page.wait_for_selector("#state .group")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if not AXE.exists():
        assert "CI" not in os.environ, "axe-core is missing: `just check-page` installs it"
        pytest.skip("axe-core is not installed: `just check-page` installs it")
    # The page's own policy forbids other scripts: the driver runs this one, not the page.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run().then(found => found.violations.map(one => [one.impact, one.id, one.nodes[0].html.slice(0, 120)]))"
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []
