"""The page: a template, a style and a script. The page's content policy allows only these two, by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

SCRIPTS = ("dom.js", "charts.js", "browser.js", "selections.js", "main.js")
_FOLDER = Path(__file__).parent


def render(facts: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the page as HTML. `facts` fill the template, escaped; `data` is for the script, as JSON.

    `data["served"]`: whether the page may send requests to the server that served it.
    """
    style, script = _style(), _script()
    page_data = {name: value for name, value in facts.items() if name != "data"}
    states, embedded = data["figures"]["totals"]["states"], len(data["index"])
    whole = data["served"] or embedded == states
    note = (
        "" if whole else f"This page holds {embedded:,} of {states:,} states: a random sample. All figures cover all."
    )
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            **page_data,
            sample_note=note,
            policy=content_policy(served=data["served"]),
            style=Markup(style),
            script=Markup(script),
            data=Markup(json_in_html(data)),
        )
    )


def content_policy(*, served: bool) -> str:
    """Return the Content-Security-Policy: the page's own script and style by hash, and nothing else."""
    connect = "'self'" if served else "'none'"
    hashes = f"script-src 'sha256-{_hash(_script())}'; style-src 'sha256-{_hash(_style())}'"
    return f"default-src 'none'; {hashes}; connect-src {connect}; base-uri 'none'; form-action 'none'"


def json_in_html(value: Any) -> str:
    """Return JSON without characters that could open a tag or a comment in HTML."""
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)


@cache
def _style() -> str:
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = [(_FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '"use strict";\n' + "\n".join(parts)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
