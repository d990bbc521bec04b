"""Strings with a `format` in their JSON schema: one spelling for each value.

A string that does not match its format is compared as text. Every pattern here is bounded and linear. Formats that are
not listed have only one spelling of each value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time
from ipaddress import IPv6Address

MAX_CHARS = 2048
"""Longer strings are compared as text."""

_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)([Zz]|[+-]\d\d:\d\d)?")
_TIME = re.compile(r"(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)([Zz]|[+-]\d\d:\d\d)?")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\s]*)([^\s]*)")


def date_or_time(text: str) -> str | None:
    """One spelling of a date-time or a time of day; None for any other text. A date-time with a zone becomes UTC."""
    if found := _DATE_TIME.fullmatch(text):
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{(found[3] or '').upper()}")
        return (moment.astimezone(UTC) if moment.tzinfo else moment).isoformat()
    if found := _TIME.fullmatch(text):
        return time.fromisoformat(f"{found[1]}{(found[2] or '').upper()}").isoformat()
    return None


def _uuid(text: str) -> str | None:
    return text.lower() if _UUID.fullmatch(text) else None


def _host(text: str) -> str | None:
    return text.lower() if text.isascii() else None


def _email(text: str) -> str | None:
    local, at, host = text.rpartition("@")
    return f"{local}{at}{host.lower()}" if at and host.isascii() else None


def _ipv6(text: str) -> str | None:
    return str(IPv6Address(text)) if ":" in text and text.isascii() else None


def _uri(text: str) -> str | None:
    """RFC 3986, 6.2.2.1 and 6.2.3: case does not count in scheme and host, and an empty path is `/`."""
    found = _URI.fullmatch(text)
    if found is None or not found[2].isascii():
        return None
    scheme, (user, at, host), path = found[1].lower(), found[2].rpartition("@"), found[3]
    if scheme in ("http", "https") and not path.startswith("/"):
        path = f"/{path}"
    return f"{scheme}://{user}{at}{host.lower()}{path}"


FORMATS: dict[str, Callable[[str], str | None]] = {
    "date-time": date_or_time,
    "email": _email,
    "hostname": _host,
    "ipv6": _ipv6,
    "time": date_or_time,
    "uri": _uri,
    "url": _uri,
    "uuid": _uuid,
}
"""Format -> function from a text to the one spelling of its value; None or ValueError if the text does not match."""


def one_spelling(name: str, text: str) -> str:
    """The text without outer white space, in the one spelling of its format. Never raises."""
    text = text.strip()
    if len(text) > MAX_CHARS:
        return text
    try:
        return FORMATS[name](text) or text
    except (ValueError, OverflowError):
        return text
