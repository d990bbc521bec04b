"""Render chat templates in a process that can be killed (`template_worker`), with limits per prompt."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine_stages.policy.template_worker import FRAME_BYTES

CPU_S = 10.0
"""Seconds of processor time per prompt: a prompt of a million characters takes a fraction of a second."""
WALL_S = 120.0
"""Seconds per prompt on a busy machine, and for the start of the process."""
MEMORY_BYTES = 2 << 30
MAX_TEXT_BYTES = 256 << 20
"""Maximum size of a prompt: more than any model reads."""
MAX_DEATHS = 3
"""If this many prompts in a row kill the process, the template is at fault and not the prompts."""


class TemplateFailed(Exception):
    """The template refuses a state or exceeds its limits for it; the message is the reject's detail."""


class Templates:
    """Renders templates. Its process starts with the first prompt and ends with this object, or with Python."""

    def __init__(self, name: str) -> None:
        """name: the tokenizer's, for messages."""
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0

    def render(self, template: str, arguments: Mapping[str, Any]) -> str:
        """The rendered text. TemplateFailed with the reason; UserError after MAX_DEATHS such failures in a row."""
        try:
            request = json.dumps({"template": template, "arguments": arguments}).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise TemplateFailed(f"{type(error).__name__}: {error}") from None
        answer = self._ask(request)
        if answer is None:
            self.close()
            self._deaths += 1
            limits = f"{CPU_S:.0f} s of processor time or {MEMORY_BYTES >> 30} GB of memory"
            if self._deaths >= MAX_DEATHS:
                raise UserError(
                    f"tokenizer {self._name}: its chat template took more than {limits} for {MAX_DEATHS} prompts in a "
                    "row; name another tokenizer with --tokenizer"
                )
            raise TemplateFailed(f"the chat template took more than {limits}")
        self._deaths = 0
        if answer[:1] != b"T":
            raise TemplateFailed(answer[1:].decode(errors="replace"))
        return answer[1:].decode()

    def close(self) -> None:
        """End the process; the next prompt starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __del__(self) -> None:
        self.close()

    def _ask(self, request: bytes) -> bytes | None:
        """The answer; None if the process died at its limits."""
        if self._process is None:
            self._process = _start()
            if _receive(self._process) is None:
                self.close()
                raise UserError(
                    "the process that renders chat templates does not start: is memory limited to below 2 GB?"
                )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(request).to_bytes(FRAME_BYTES) + request)
            self._process.stdin.flush()
            return _receive(self._process)
        except BrokenPipeError:
            return None
        except BaseException:  # Ctrl-C, for example: the answer would be taken for the next prompt's
            self.close()
            raise


def _start() -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("template_worker.py")
    # -P: Python must not import from the folder of the script, whose module names may clash.
    return subprocess.Popen(
        [sys.executable, "-P", str(script), str(CPU_S), str(MEMORY_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _receive(process: subprocess.Popen[bytes]) -> bytes | None:
    """One frame; None if it does not arrive complete within its time and size."""
    assert process.stdout is not None
    descriptor, deadline = process.stdout.fileno(), time.monotonic() + WALL_S
    data, size = bytearray(), FRAME_BYTES
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(data) < size:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                return None
            block = os.read(descriptor, min(size - len(data), 1 << 20))
            if not block:
                return None
            data += block
            if size == FRAME_BYTES and len(data) == FRAME_BYTES:
                size += int.from_bytes(data)
                if size > MAX_TEXT_BYTES:
                    return None
    return bytes(data[FRAME_BYTES:])
