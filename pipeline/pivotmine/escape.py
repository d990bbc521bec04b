"""Foreign text made harmless: what a trajectory or a model wrote never steers a terminal."""

from __future__ import annotations


def inert(text: str) -> str:
    """The text with every character that does not print written as its number."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def one_line(text: str) -> str:
    """The text on one line, white space squeezed, and inert."""
    return inert(" ".join(text.split()))


def _escape(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
