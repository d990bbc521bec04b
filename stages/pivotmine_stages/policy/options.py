"""Options that define a policy. Few imports: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pivotmine.actions import PARSERS
from pivotmine.options import Option
from pivotmine_stages.engines import ENGINES
from pivotmine_stages.engines.options import EngineOptions


def _engines() -> list[str]:
    return list(ENGINES)


def parser_names() -> list[str]:
    """The conventions in which a policy can write actions."""
    return list(PARSERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    engine: EngineOptions
    engine_name: Annotated[str | None, Option(panel="Policy", flag="engine", choices=_engines)] = None
    """Engine that samples; by default vllm if it is installed and a GPU is visible, else transformers."""
    tokenizer: Annotated[str | None, Option(panel="Policy")] = None
    """Folder or hub id of the tokenizer; by default the model's."""
    parser: Annotated[str | None, Option(panel="Policy", choices=parser_names)] = None
    """Convention in which the policy writes its actions; by default detected in the chat template."""
    policy_name: Annotated[str | None, Option(panel="Policy")] = None
    """Readable part of the policy's id. Required for a server, whose weights cannot be hashed."""
