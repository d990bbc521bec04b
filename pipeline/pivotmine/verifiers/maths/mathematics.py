"""`math`: final answers that are equal, by math-verify (1/2 and 0.5, the order of a set, an expanded product).

The answer is what the last `\\boxed{}` of a text holds; without one, of its last line that is not empty, what stands in
the last pair of dollar signs, behind "answer is", "answer:" or "####", or the line's last number. The text is the
message, or the call argument that `argument` names; then the other arguments have to be equal as JSON.

Answers that are not equal as they are written are compared in a process of their own (`math_worker`), one a thread,
under limits of CPU time and memory: one that takes longer, or is longer than `MAX_CHARS`, is UNPROVEN. Symmetric:
math-verify is asked both ways. It rounds decimals to 6 places, so 0.333333 is 1/3, and forgives a unit and "x =".
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text, unproven

MAX_CHARS = 1_000
"""Of an answer."""
MAX_TEXT_CHARS = 1_000_000
"""An answer is looked for in the last so many characters."""
START_S = 300.0
"""Longest wait for a worker to start, and for an answer beyond its CPU time: a busy machine is no answer's fault."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_DOLLARS = re.compile(r"\$\$?([^$]+)\$\$?")
_SAID = re.compile(r"(?:answer\s+is|answer\s*:|####|\btherefore\b|\bhence\b)\s*:?(.*)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?(?:/\d++)?(?:\s?\\?%)?|[-+]?\.\d++", re.ASCII)
_PERCENT = re.compile(r"(.*?)\s*\\?%", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class MathOptions:
    argument: str = ""
    """Where the answer stands in a call: "tool.argument"; empty: in the message."""
    cpu_s: float = 5.0
    """CPU time that one comparison may take, in seconds."""

    def __post_init__(self) -> None:
        tool, dot, argument = self.argument.partition(".")
        if self.argument and not (tool and dot and argument):
            raise UserError(
                f'verifier math, option argument: "{self.argument}" names no argument: write "tool.argument"'
            )
        if not 0 < self.cpu_s <= 3600:
            raise UserError(f"verifier math, option cpu_s: must be above 0 and at most 3600, is {self.cpu_s}")


def prepare(state: State, demonstration: Action, options: MathOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration that states an answer."""
    read = _read_argument if options.argument else _read_message
    gold = read(demonstration, options.argument)
    if isinstance(gold, Verdict):
        fault = Verdict(0.0, gold.outcome, f"demonstrated: {gold.detail}")
        return lambda action: fault

    def judge(action: Action) -> Verdict:
        given = read(action, options.argument)
        if isinstance(given, Verdict):
            return given
        if given.rest != gold.rest:
            return Verdict(
                0.0, Outcome.WRONG_ARGUMENTS, f"{shown_text(given.rest)}, demonstrated {shown_text(gold.rest)}"
            )
        return compare(gold.answer, given.answer, options.cpu_s)

    return judge


@dataclass(frozen=True, slots=True)
class _Said:
    answer: str
    rest: str
    """Tool and other arguments, as canonical JSON."""


def _read_message(action: Action, argument: str) -> _Said | Verdict:
    if action.tool_calls:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(action.tool_calls[0].name)}")
    return _said(action.message, "")


def _read_argument(action: Action, argument: str) -> _Said | Verdict:
    name, _, key = argument.partition(".")
    if len(action.tool_calls) > 1:
        return Verdict(0.0, Outcome.SURPLUS_CALLS, f"calls: {len(action.tool_calls)}, needed 1")
    call = next(iter(action.tool_calls), None)
    if call is None:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a message, needed {shown_text(name)}")
    if call.name != name:
        return Verdict(0.0, Outcome.WRONG_TOOL, f"{shown_text(call.name)}, needed {shown_text(name)}")
    if key not in call.arguments:
        return Verdict(0.0, Outcome.MISSING_ARGUMENTS, f"{shown_text(argument)}: missing")
    rest = {other: value for other, value in call.arguments.items() if other != key}
    value = call.arguments[key]
    return _said(value if isinstance(value, str) else strict_json.dumps(value), strict_json.canonical(rest))


def _said(text: str, rest: str) -> _Said | Verdict:
    answer = final_answer(text)
    return _Said(answer, rest) if answer else Verdict(0.0, Outcome.WRONG_TEXT, "states no answer")


def final_answer(text: str) -> str:
    """The answer that a text states; empty where it states none."""
    text = text[-MAX_TEXT_CHARS:]
    boxes = list(_BOXED.finditer(text))
    if boxes:
        return _braced(text, boxes[-1].end()).strip()
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "").replace("**", "")
    if dollars := _DOLLARS.findall(line):
        return dollars[-1].strip()
    said = _SAID.search(line)
    candidate = (said[1] if said else line).strip().rstrip(".")
    if _is_formula(candidate):
        return candidate
    numbers = _NUMBER.findall(candidate)
    return numbers[-1] if numbers else ""


def _is_formula(text: str) -> bool:
    """Whether a line is an answer by itself, without a word of English in it."""
    return 0 < len(text) <= MAX_CHARS and not re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{2}", text)


def _braced(text: str, start: int) -> str:
    """What stands up to the brace that closes the one before `start`; nothing where none does."""
    depth = 1
    for at in range(start, min(len(text), start + MAX_CHARS * 2)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return ""


def compare(demonstrated: str, given: str, cpu_s: float) -> Verdict:
    """The verdict on two answers."""
    one, other = _plain(demonstrated), _plain(given)
    if one == other:
        return Verdict(1.0, Outcome.CORRECT)
    if max(len(one), len(other)) > MAX_CHARS:
        return unproven(f"more than {MAX_CHARS:,} characters, and not the same")
    same = _ask(one, other, cpu_s)
    if same is None:
        return unproven(f"not compared within {cpu_s:g} s of CPU time")
    if same:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(0.0, Outcome.WRONG_TEXT, f"{shown_text(given)}, demonstrated {shown_text(demonstrated)}")


def _plain(answer: str) -> str:
    answer = " ".join(answer.strip().strip("$").split())
    # By itself math-verify takes 50 % for 50 and for 0.5.
    percent = _PERCENT.fullmatch(answer)
    return rf"\frac{{{percent[1]}}}{{100}}" if percent else answer


_local = threading.local()


def _ask(demonstrated: str, given: str, cpu_s: float) -> bool | None:
    """Whether two answers are equal; None where the worker died of its limits over them."""
    worker = getattr(_local, "worker", None)
    # A forked process must not talk to its parent's worker.
    if worker is None or worker.process_id != os.getpid() or worker.process.poll() is not None:
        worker = _local.worker = _Worker()
    return worker.ask({"demonstrated": demonstrated, "given": given, "cpu_s": cpu_s})


class _Worker:
    """A running `math_worker`; it ends with its standard input."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("math_worker.py")
        # -P: the folder of the script, with its module names, is no place to import from.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.process_id = os.getpid()
        if self._receive(START_S) is None:
            raise RuntimeError("the process that compares mathematical answers does not start")

    def ask(self, request: dict[str, str | float]) -> bool | None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{json.dumps(request)}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self._receive(START_S + float(request["cpu_s"]))
        return None if answer is None else answer["same"]

    def _receive(self, timeout_s: float) -> dict[str, bool] | None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                self.close()
                raise TimeoutError(f"no answer within {timeout_s:g} s")
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.close()
        return None

    def close(self) -> None:
        """End the process, and leave none behind."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def __del__(self) -> None:
        # The thread is gone, and with it whoever would ask.
        if getattr(self, "process_id", None) == os.getpid():
            self.close()


VERIFIER = Verifier(
    prepare=prepare,
    options=MathOptions,
    version=1,
    kinds=frozenset({"message", "tool_call"}),
    abstains=True,
    requires=("math_verify",),
    extra="verifiers",
)
