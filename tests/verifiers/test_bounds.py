"""Every verifier stays below 5 s of processor time and 1 GB of memory on the hardest large inputs that we know."""

import resource
import subprocess
import sys

import pytest

CPU_S = 5
MEMORY_BYTES = 1 << 30
SETUP = """
import json, resource
from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import State, make_spec, verify

def call(**arguments):
    return Action(tool_calls=(ToolCall(name="f", arguments=arguments),))

def calls(arguments):
    return Action(tool_calls=tuple(ToolCall(name="f", arguments=one) for one in arguments))

def batch(keystrokes):
    commands = [{"keystrokes": keys} for keys in keystrokes]
    return Action(message=json.dumps({"analysis": "", "plan": "", "commands": commands}))

def judge(name, one, other, state=State(), **options):
    spec = make_spec(name, options)
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + CPU_S + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft))
    print(verify(spec, state, [one], other).outcome.value)
"""

CASES = {
    "tool_call, a list reversed": "judge('tool_call', call(a=list(range(10**6))), call(a=list(range(10**6))[::-1]))",
    "tool_call, texts": "judge('tool_call', call(a=['x%d' % i for i in range(10**6)]), call(a=['y'] * 10**6))",
    "tool_call, parallel with tolerance": (
        "judge('tool_call', calls({'a': 1 + i / 1e6} for i in range(1500)),"
        " calls({'a': 2 + i / 1e6} for i in range(1500)), tolerance=1e-7)"
    ),
    "tool_call, all parallel calls alike": (
        "judge('tool_call', calls({'a': 1.5 + i / 1e9} for i in range(1500)),"
        " calls({'a': 1.5 - i / 1e9} for i in range(1500)), tolerance=1e-3)"
    ),
    "gym_single_step, parallel": (
        "judge('gym_single_step', calls({'a': 'x y %d' % i} for i in range(1000)),"
        " calls({'a': 'x y %d' % -i} for i in range(1000)))"
    ),
    "edit, a long hunk": (
        "lines = ['x = 1'] * 90_000\n"
        "arguments = json.dumps({'command': 'create', 'path': '/a.py', 'file_text': '\\n'.join(lines)})\n"
        "function = {'name': 'f', 'arguments': arguments}\n"
        "made = {'role': 'assistant', 'tool_calls': [{'id': '1', 'type': 'function', 'function': function}]}\n"
        "state = State(messages=(made, {'role': 'tool', 'tool_call_id': '1', 'content': 'ok'}))\n"
        "head = '*** Begin Patch\\n*** Update File: /a.py\\n@@\\n' + ' x = 1\\n' * 40_000\n"
        "judge('edit', call(patch=head + '+y\\n*** End Patch'), call(patch=head + '+z\\n*** End Patch'), state)"
    ),
    "terminal, many commands": "judge('terminal', batch(['ls\\n'] * 100_000), batch(['ls\\n'] * 99_999))",
    "gym_terminus_string, many commands": (
        "judge('gym_terminus_string', batch(['ls\\n'] * 100_000), batch(['sl\\n'] * 100_000))"
    ),
    "math, a power tower": "judge('math', Action(message='1'), Action(message='\\\\boxed{9^{9^{9^{9}}}}'))",
    "math, a long text": "judge('math', Action(message='1'), Action(message='\\\\[ ' * 300_000 + '$' * 100_000))",
    "search_query, a long text": "judge('search_query', call(query='a ' * 500_000), call(query='b ' * 500_000))",
    "shell, a long text": "judge('shell', call(command='(' * 500_000), call(command=')' * 500_000))",
    "python, a long text": "judge('python', call(code='x = (' * 9_000), call(code='[' * 500_000))",
    "sql, a long text": "judge('sql', call(query='select ' + '(' * 9_000), call(query='select a ' * 1_000))",
    "text, a long text": "judge('text', Action(message='a b. ' * 200_000), Action(message='b a. ' * 200_000))",
}


@pytest.mark.parametrize("case", CASES)
def test_the_largest_inputs_are_judged_within_bounds(case: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    script = f"CPU_S = {CPU_S}\n{SETUP}\n{CASES[case]}\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() in ("wrong_arguments", "wrong_text", "unproven", "error", "invalid_call", "correct")
