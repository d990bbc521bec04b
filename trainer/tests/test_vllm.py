"""TRL's colocate mode with the miner's vLLM, two steps on a CPU: skipped if vLLM is not installed.

Two things of vLLM's CPU build are patched, both in this test only: TRL cannot ask for eager mode, and compiling takes
minutes; and the CPU backend packs weights away where `sync_weights` looks for them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")

DRIVER = """
import sys
import torch
import vllm
from vllm.model_executor.layers import linear

plain = vllm.LLM.__init__

def eager(self, *args, **kwargs):
    plain(self, *args, **{**kwargs, "enforce_eager": True})

def unpacked(self, layer):
    layer.cpu_linear = torch.nn.functional.linear

if __name__ == "__main__":
    vllm.LLM.__init__ = eager
    linear.UnquantizedLinearMethod.process_weights_after_loading = unpacked
    from pivotmine_trainer.cli.app import main
    main(sys.argv[1:])
"""


def test_two_steps_of_colocate_mode_have_importance_ratios_near_one(dataset: Path, tmp_path: Path) -> None:
    policy = tiny.train_policy(tmp_path / "policy", head_dim=32)  # vLLM's CPU attention does not support heads of 16
    (tmp_path / "driver.py").write_text(DRIVER)
    out = tmp_path / "out"
    options = {"use_vllm": "true", "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.05, "use_cpu": "true"}
    args = tiny.command(policy, dataset, out, **options, max_steps=2, eval_strategy="no", bf16="false")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **alone, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py"), *args],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((out / "checkpoint-2/trainer_state.json").read_text())["log_history"]
    steps = [entry for entry in history if "sampling/importance_sampling_ratio/mean" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    for entry in steps:
        assert entry["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=0.05)
        assert entry["sampling/sampling_logp_difference/mean"] < 0.02
