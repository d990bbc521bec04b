"""The ray engine on real Ray clusters: `ray_clusters.py`, run by a pytest of its own.

Ray ends a process whose cluster has stopped answering, at once and without a word (a loaded machine is enough): it must
not be the process that runs all the other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 1200


def test_clusters() -> None:
    tests = Path(__file__).with_name("ray_clusters.py")
    # Of Ray itself: how long a process waits for a cluster that does not answer.
    env = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "300"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tests)], env=env, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
