"""The process that renders chat templates: run as a script, one framed request in, one framed answer out.

    {"template": "...", "arguments": {"messages": [...], ...}}   ->   b"T" and the text, or b"E" and the error

A frame is eight bytes of length and the data. A template comes with a model that anybody may have uploaded. Jinja's
sandbox keeps it from files and from Python's insides, but it can still loop for ever or fill the memory, even during
compilation. So the kernel kills this process at its CPU or memory limit, and the caller starts another one.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from datetime import datetime
from typing import Any

FRAME_BYTES = 8


def main() -> None:
    cpu_s, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compiled: dict[str, Any] = {}
    compile_template("")  # loads Jinja now, so that it does not count for the first prompt
    _answer(b"T")
    while len(head := sys.stdin.buffer.read(FRAME_BYTES)) == FRAME_BYTES:
        request = json.loads(sys.stdin.buffer.read(int.from_bytes(head)))
        _limit_cpu(cpu_s)
        try:
            template = request["template"]
            if template not in compiled:
                compiled[template] = compile_template(template)
            answer = b"T" + compiled[template].render(**request["arguments"]).encode()
        except Exception as error:  # a foreign template may raise anything
            answer = b"E" + f"{type(error).__name__}: {error}"[:1000].encode(errors="replace")
        _answer(answer)


def _answer(data: bytes) -> None:
    sys.stdout.buffer.write(len(data).to_bytes(FRAME_BYTES) + data)
    sys.stdout.buffer.flush()


def _limit_cpu(cpu_s: float) -> None:
    # The kernel counts from the start of the process.
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def compile_template(template: str) -> Any:
    """A template as transformers compiles it: sandboxed, with its filter, its functions and its `generation` block."""
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's text for trainers; the text stays as it is."""

        tags = {"generation"}  # noqa: RUF012  (jinja's own)

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Any) -> str:
            return caller()

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **form: Any) -> str:  # noqa: FBT001  (as templates call it)
        return json.dumps(value, ensure_ascii=ensure_ascii, **form)

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    environment: Any = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return environment.from_string(template)


if __name__ == "__main__":
    main()
