"""`view` answers those who have its address, and nobody else."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest
from mined_runs import mined_run

from pivotmine_stages.view.options import ViewConfig
from pivotmine_stages.view.stage import Viewer


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    viewer = Viewer(ViewConfig(policy="policy-1"), mined_run(tmp_path_factory.mktemp("view")))
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


def ask(viewer: Viewer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_the_page_and_its_states_are_answered(viewer: Viewer) -> None:
    assert ask(viewer, f"/?token={viewer.token}")[1].startswith(b"<!doctype html>")
    status, body = ask(viewer, "/api/states?class=sometimes&sort=mean", X_Pivotmine_Token=viewer.token)
    found = json.loads(body)
    assert (status, found["total"], [row["mean"] for row in found["rows"]]) == (200, 3, [0.25, 0.5, 0.75])
    state_id = found["rows"][0]["state_id"]
    status, body = ask(viewer, f"/api/state?id={state_id}", X_Pivotmine_Token=viewer.token)
    shown = json.loads(body)
    assert [(group["count"], group["reward"]) for group in shown["samples"]] == [(1, 1.0), (3, 0.0)]
    assert shown["texts"][shown["messages"][0]]["text"] == "Find B"


def test_a_range_of_means_holds_its_lower_end_and_not_its_upper_one(viewer: Viewer) -> None:
    def means(query: str) -> list[float]:
        return [
            row["mean"]
            for row in json.loads(ask(viewer, f"/api/states?sort=mean&{query}&token={viewer.token}")[1])["rows"]
        ]

    assert means("low=0.25&high=0.75") == [0.25, 0.5]
    assert means("low=0.75&high=1") == [0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 403),
        ("/?token=", {}, 403),
        ("/?token=wrong", {}, 403),
        ("/api/states", {}, 403),
        ("/?token={token}", {"Host": "evil.example"}, 403),
        ("/?token={token}", {"Host": "127.0.0.1"}, 403),
        ("/api/states?token={token}", {"Origin": "http://evil.example"}, 403),
        ("/api/states?token={token}", {"Origin": "null"}, 403),
        ("/api/nothing?token={token}", {}, 404),
        ("/../../etc/passwd?token={token}", {}, 404),
        ("/api/state?id=nothing&token={token}", {}, 400),
        ("/api/state?token={token}", {}, 400),
        ("/api/states?sort=1;drop&token={token}", {}, 400),
        ("/api/states?from=-1&token={token}", {}, 400),
        ("/api/states?from=x&token={token}", {}, 400),
        ("/api/states?low=nan'&token={token}", {}, 400),
    ],
)
def test_what_is_refused(viewer: Viewer, path: str, headers: dict[str, str], status: int) -> None:
    found, body = ask(viewer, path.format(token=viewer.token), **headers)
    assert (found, list(json.loads(body))) == (status, ["error"])
    assert viewer.token.encode() not in body


def test_only_get_is_answered(viewer: Viewer) -> None:
    assert ask(viewer, f"/?token={viewer.token}", method="POST")[0] == 501


def test_a_filter_is_a_value_and_never_sql(viewer: Viewer) -> None:
    status, body = ask(viewer, f"/api/states?domain=%27%20or%20true--&token={viewer.token}")
    assert (status, json.loads(body)) == (200, {"total": 0, "rows": []})
