"""Serialised calls that stay text: `hermes`, `mistral` and `qwen3_xml` as conventions of a harness.

Such markup is only a way to write native calls, and extract makes native calls of it if the tools' schemas are known.
Otherwise (or with `--calls verbatim`) the history stays as it is, and all calls of a turn count.
"""

from __future__ import annotations

from pivotmine.actions import hermes, mistral, qwen3_xml
from pivotmine.actions.conventions.convention import Convention

HERMES = Convention(hermes.split, "all", "message", marks=("<tool_call>",))
MISTRAL = Convention(mistral.split, "all", "message", marks=("[TOOL_CALLS]",))
QWEN3_XML = Convention(qwen3_xml.split, "all", "message", marks=("<tool_call>", "<function="))
