"""Make foreign text harmless: it cannot steer a terminal, and addresses lose their secrets."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>]*)")
_PORT = re.compile(r"[^:]*(?::\d*)?|\[[^\]]*\](?::\d*)?")


def inert(text: str) -> str:
    """The text with an escape in place of each unprintable character."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def one_line(text: str) -> str:
    """The text on one line: single spaces, `inert`, and only public addresses."""
    return without_secrets(inert(" ".join(text.split())))


def public_address(address: str) -> str:
    """An address without user, password, query and fragment, which may be secrets; a path is unchanged."""
    protocol, found, rest = address.partition("://")
    return f"{protocol}://{_public(rest)}" if found else address


def without_secrets(text: str) -> str:
    """The text with `public_address` applied to each address in it."""
    return _ADDRESS.sub(lambda found: found[1] + _public(found[2]), text) if "://" in text else text


def _public(rest: str) -> str:
    """Host and path of what follows `://`."""
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    host = host.rpartition("@")[2]
    if not _PORT.fullmatch(host):  # an unquoted /, ? or # in a password ends the host too early
        return _public(rest.rpartition("@")[2]) if "@" in rest else host.partition(":")[0]
    return host + slash + path


def _escape(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
