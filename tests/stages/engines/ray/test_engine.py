"""The ray engine on real Ray clusters: `ray_clusters.py`, run by a pytest of its own.

Ray ends a process whose cluster has stopped answering, at once and without a word, and gives up a node that takes
longer than some 15 s to start. A machine that other work loads is enough for both: so it must not be the process that
runs all the other tests, and there is a second attempt, in which every test must pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ATTEMPTS = 2
TIMEOUT_S = 1200


def test_clusters() -> None:
    # What Ray leaves to the garbage collector may come up after the last test, where no test's filter holds any more.
    quiet = ["-p", "no:unraisableexception", "-W", "ignore::ResourceWarning"]
    # Uncaptured, since the last words of a process that Ray ends would be lost with what pytest keeps of it.
    command = [sys.executable, "-m", "pytest", "-q", "-s", *quiet, str(Path(__file__).with_name("ray_clusters.py"))]
    # Of Ray itself: how long a process waits for a cluster that does not answer.
    env = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "300"}
    said = list[str]()
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode == 0:
            return
        said.append(f"exit status {done.returncode}\n{done.stdout[-5000:]}{done.stderr[-5000:]}")
    pytest.fail("\n\n".join(said), pytrace=False)
