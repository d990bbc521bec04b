"""Foreign text cannot control a terminal, and a printed address contains no secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.escape import one_line, public_address, without_secrets

ADDRESSES = [
    ("https://host/a/b.jsonl", "https://host/a/b.jsonl"),
    ("https://host/a b.jsonl?X-Amz-Signature=k", "https://host/a b.jsonl"),
    ("https://me:pw@host:8000/v1", "https://host:8000/v1"),
    ("https://me:p@w@host/v1#part", "https://host/v1"),
    ("http://me:p/w@host:8000/v1?key=k", "http://host:8000/v1"),
    ("http://me:p?w#x@host/v1", "http://host/v1"),
    ("http://[::1]:8000/v1?k", "http://[::1]:8000/v1"),
    ("hf://datasets/me/it@main/a.parquet", "hf://datasets/me/it@main/a.parquet"),
    ("s3://key:secret@bucket/a?versionId=1", "s3://bucket/a"),
    ("runs/a?b@c", "runs/a?b@c"),
    ("", ""),
]


@pytest.mark.parametrize(("address", "public"), ADDRESSES)
def test_an_address_is_shown_without_user_and_query(address: str, public: str) -> None:
    assert public_address(address) == public
    assert public_address(public) == public


def test_addresses_inside_a_text_are_public_too() -> None:
    said = "403, url='https://me:pw@host/a?sig=k', see (http://host/b?token=t) or mail me@host"
    assert without_secrets(said) == "403, url='https://host/a', see (http://host/b or mail me@host"
    assert one_line("no answer\nfrom \x1b[2Jhttp://me:pw@host/") == r"no answer from \x1b[2Jhttp://host/"


SECRET = st.text("abcXYZ019.:/?#@&=%-_~", min_size=1).map(lambda text: f"hunter2{text}")


@given(SECRET, SECRET, st.sampled_from(["", "/v1", "/a/b"]))
def test_neither_password_nor_query_is_ever_shown(password: str, query: str, path: str) -> None:
    for address in (f"http://me:{password}@host:80{path}", f"https://me:{password}@host{path}?{query}"):
        assert "hunter2" not in public_address(address)
        assert "hunter2" not in one_line(f"cannot read '{address}': no")
