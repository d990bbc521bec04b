"""No entity of one split occurs in another."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise

from pivotmine_desk.names import SPLITS, Names, split_of
from pivotmine_desk.tasks import numbered_task

NUM_TASKS = 400


def test_splits_cover_the_hash_range_once() -> None:
    ranges = sorted(SPLITS.values())
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 100
    assert all(high == low for (_, high), (low, _) in pairwise(ranges))


def test_no_entity_of_one_split_is_in_another() -> None:
    met = {
        split: {entity.casefold() for n in range(NUM_TASKS) for entity in numbered_task(split, n).entities}
        for split in SPLITS
    }
    assert all(split_of(entity) == split for split, entities in met.items() for entity in entities)
    for split in SPLITS:
        for other in set(SPLITS) - {split}:
            assert met[split].isdisjoint(met[other])


def test_every_id_and_name_in_a_task_is_one_of_its_entities() -> None:
    pattern = re.compile(r"[A-Z][0-9]{3}|[A-Z][a-z]+ [A-Z][a-z]{5,}|[A-Z][a-z]{5,}(?: Ltd)?")
    for number in range(NUM_TASKS):
        task = numbered_task("test", number)
        text = json.dumps([task.request, task.tables])
        found = {word for word in pattern.findall(text) if word.split()[0] not in ("Share", "Tidy")}
        assert {word for word in found if word not in task.entities} == set()


def test_tasks_of_a_split_differ() -> None:
    seen = [json.dumps([task.request, task.tables]) for task in (numbered_task("train", n) for n in range(400))]
    assert len(set(seen)) == 400


def test_a_name_is_drawn_once() -> None:
    names = Names(random.Random(0), "test")
    drawn = [names.id() for _ in range(300)]
    assert len(set(drawn)) == 300
    assert names.drawn == set(drawn)
