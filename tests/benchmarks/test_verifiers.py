"""The court: its pairs have the properties they claim, and the verifiers answer as the page says."""

from collections import Counter
from difflib import SequenceMatcher

import pytest
from benchmarks.verifiers import court

from pivotmine.verifiers import make_spec

NAMES = sorted(court.ACTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_enough_pairs_of_either_label(name: str) -> None:
    found = list(court.pairs(name))
    labels = Counter(pair.same for pair in found)
    assert labels[True] >= 20
    assert labels[False] >= 20
    assert len({pair.texts for pair in found}) == len(found)
    for pair in found:
        assert pair.reason
        assert pair.texts[0] != pair.texts[1], "string equality accepts it"
        if not pair.same:
            alike = SequenceMatcher(None, *pair.texts, autojunk=False).ratio()
            assert alike > 0.5 or pair.action.kind == pair.demonstration.kind


@pytest.mark.parametrize("name", NAMES)
def test_a_verifier_pays_no_different_pair_of_its_own(name: str) -> None:
    spec = make_spec(name, court.OPTIONS.get(name, {}))
    found = court.tally(spec, list(court.pairs(name)))
    assert (found.paid, found.refused, found.gated) == (0, 0, 0)
    assert found.unproven < 0.25 * found.same


def test_the_published_rewards_pay_what_they_are_known_to_pay() -> None:
    pairs = list(court.pairs("tool_call")) + list(court.pairs("terminal"))
    assert court.tally(make_spec("gym_single_step", {}), pairs).paid > 20
    assert court.tally(make_spec("gym_terminus_string", {}), pairs).paid > 5
    labels = Counter(pair.same for pair in pairs)
    assert court.tally(None, pairs) == court.Tally(labels[False], 0, labels[True], labels[True], 0, 0)


def test_the_page_holds_both_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    page = court.PAGE.read_text(encoding="utf-8")
    table = page.partition(court.BEGIN)[2].partition(court.END)[0]
    assert all(f"| {name} |" in table for name in (*court.REWARDS, court.RULE))
