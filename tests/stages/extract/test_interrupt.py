"""What an unfinished extract leaves: after Ctrl-C while workers are busy, and on a full disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from extracting import assistant, user, write_lines


def test_ctrl_c_is_one_line_and_ends_the_workers(tmp_path: Path) -> None:
    lines = [[user(str(n)), assistant("a" * 2000)] for n in range(3000)]
    source, script = write_lines(tmp_path / "a.jsonl", *lines), tmp_path / "script.py"
    script.write_text(
        "import pivotmine_stages.parallel as blocks\n"
        "from pivotmine_stages.cli.app import main\n"
        "blocks.BLOCK_BYTES = 1 << 12\n"
        'if __name__ == "__main__":\n'
        "    main()\n"
    )
    command = [sys.executable, script, "extract", source, "--run", tmp_path / "run", "--num-processes", "2", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not list(tmp_path.glob("run/.extract.tmp/blocks/*/*")) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to each process of the group
        _, errors = process.communicate()
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "run/.extract.tmp").exists()


def test_a_full_disk_is_one_line_and_gets_its_room_back(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the disk: the system refuses the same writes."""
    source = write_lines(tmp_path / "a.jsonl", [user("hello"), assistant("a" * 2000)])
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from pivotmine_stages.cli.app import main; main()"
    )
    command = [sys.executable, "-c", script, "extract", source, "--run", tmp_path / "run", "--num-processes", "1"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("pivotmine: ")
    assert "too large" in done.stderr
    assert not (tmp_path / "run/.extract.tmp").exists()
