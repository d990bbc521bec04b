import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine import strict_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert strict_json.loads(strict_json.dumps(value)) == value
    assert strict_json.loads(strict_json.canonical(value)) == value


def without_orjson(work: Callable[[], Any]) -> Any:
    """What the standard library alone answers, or the reason why it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_orjson", lambda: None)
        return answer(work)


def answer(work: Callable[[], Any]) -> Any:
    try:
        return repr(work())  # which tells 1 from 1.0 and from true, and keeps key order
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


odd = st.sampled_from([1e16, 1e-5, -0.0, 1e22, 5e-324, 2.0**63, 2**63, 2**64, -(2**63) - 1, float("nan"), "\ud800"])
odd_values = st.recursive(
    scalars | odd, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=60)
@given(odd_values)
def test_what_is_written_does_not_depend_on_orjson(value: Any) -> None:
    for write in (strict_json.dumps, strict_json.canonical, strict_json.dump_bytes, strict_json.canonical_bytes):
        assert answer(lambda write=write: write(value)) == without_orjson(lambda write=write: write(value))


words = [
    *('"a"', '"a":', r'"\u0022":', ":", ",", "{", "}", "[", "]", "1e5", "-0", "1e999", "1e-400", "NaN", "0.1", "01"),
    *(r'"\ud800"', r'"\ud83d\ude00"', "true", "nul"),
]
tokens = st.sampled_from([*words, " ", "\t", '"\x7f"', '"\x01"', "18446744073709551616", "-9223372036854775809"])
objects = st.lists(
    st.tuples(st.sampled_from(['"a"', '"b"', '"\\u0061"', '"\\u0022\\u0022"', '"\\""']), tokens), max_size=4
).map(lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}")


@settings(max_examples=200)
@given(st.lists(tokens, max_size=8).map("".join) | objects | st.lists(objects).map(lambda o: f"[{','.join(o)}]"))
def test_what_is_read_does_not_depend_on_orjson(text: str) -> None:
    alone = without_orjson(lambda: strict_json.loads(text))
    assert answer(lambda: strict_json.loads(text)) == alone
    assert answer(lambda: strict_json.loads(text.encode())) == alone


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^a string holds a lone surrogate$"):
        strict_json.loads(b'"\xff"')


@given(st.dictionaries(st.text(), scalars))
def test_canonical_does_not_depend_on_key_order(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert strict_json.canonical(backwards) == strict_json.canonical(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("1e999", "number out of range: 1e999"),
        ('{"a": 1, "a": 1}', "an object repeats a key"),
        (r'{"a": 1, "a": 1, "b": "\u0022\u0022"}', "an object repeats a key"),  # as many quotes as the value has
        ("[" * 101 + "1" + "]" * 101, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('"\\ud800"', "a string holds a lone surrogate"),
        ('{"\\uDFFF": 1}', "a string holds a lone surrogate"),
        ('["\ud83d"]', "a string holds a lone surrogate"),
        ("9" * 5000, "Exceeds the limit (4300 digits)"),
        ("", "Expecting value"),
        ("[1] 2", "Extra data"),
        ("'a'", "Expecting value"),
    ],
)
def test_loads_refuses_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reason is compared below
        strict_json.loads(text)
    assert str(caught.value).startswith(reason)


def test_surrogate_pairs_are_ordinary_characters() -> None:
    assert strict_json.loads('"\\ud83d\\ude00"') == "\U0001f600"


def test_the_deepest_nesting_that_is_read() -> None:
    text = "[" * 100 + "1" + "]" * 100
    assert strict_json.dumps(strict_json.loads(text)) == text


@given(st.text(max_size=5), values, st.text())
def test_raw_loads_reads_what_starts_there_and_says_where_it_ends(before: str, value: Any, after: str) -> None:
    text = strict_json.dumps([value])
    assert strict_json.raw_loads(before + text + after, len(before)) == ([value], len(before + text))


@given(values, st.integers(min_value=17, max_value=60), st.text(alphabet=' \n}],"x'))
def test_raw_loads_does_not_depend_on_its_window(value: Any, window: int, after: str) -> None:
    text = json.dumps([value], indent=1) + after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_WINDOW_CHARS", window)
        assert strict_json.raw_loads(text) == ([value], len(text) - len(after))


@given(values, st.integers(min_value=17, max_value=60), st.data())
def test_broken_json_is_refused_alike_through_any_window(value: Any, window: int, data: st.DataObject) -> None:
    text = json.dumps([value], indent=1)
    cut = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    text = text[:cut] + "~" + text[cut + 1 :]
    results: list[Any] = []
    for size in (window, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strict_json, "_WINDOW_CHARS", size)
            try:
                results.append(strict_json.raw_loads(text))
            except ValueError as error:
                results.append(str(error))
    assert results[0] == results[1]


@pytest.mark.parametrize("number", ["1234567890123456789012.5", "1234567890123456789e-5", "-123456789012345678"])
@pytest.mark.parametrize("window", range(17, 30))
def test_raw_loads_cuts_no_number_at_its_window(number: str, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_WINDOW_CHARS", window)
        assert strict_json.raw_loads(number + ";" * 40) == (json.loads(number), len(number))


def test_raw_loads_names_the_position_within_the_value() -> None:
    with pytest.raises(ValueError, match=r"^Expecting ':' delimiter at character 4$"):
        strict_json.raw_loads("some text " * 1000 + '{"a"}', 10_000)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', "[" * 5000])
def test_raw_loads_is_as_strict_as_loads(text: str) -> None:
    reasons: list[str] = []
    for parse in (strict_json.loads, strict_json.raw_loads):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reasons are compared
            parse(text)
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1]


def test_many_broken_values_in_one_text_take_linear_time() -> None:
    """A hundred thousand errors in seven million characters: counting lines for each would take minutes."""
    text = '{"a" 1}' * 1_000_000
    for start in range(0, len(text), 70):
        with pytest.raises(ValueError, match=r"delimiter at character 5$"):
            strict_json.raw_loads(text, start)


@pytest.mark.parametrize(("value", "depth"), [(1, 0), ([], 0), ([1], 1), ({"a": [1]}, 2), ([[], {"a": {"b": 1}}], 3)])
def test_depth_counts_levels_that_hold_something(value: Any, depth: int) -> None:
    assert [strict_json.exceeds_depth(value, limit) for limit in range(5)] == [limit < depth for limit in range(5)]


def is_ordinary_plainly(value: Any, levels: int = strict_json.MAX_DEPTH) -> bool:
    if isinstance(value, dict | list):
        inside = list(value.values()) if isinstance(value, dict) else value
        return not inside or (levels > 0 and all(is_ordinary_plainly(child, levels - 1) for child in inside))
    return not isinstance(value, float) or not value or 1e-4 <= abs(value) < 1e16


@settings(max_examples=100)
@given(odd_values)
def test_an_ordinary_value_has_no_float_that_writers_write_in_two_ways(value: Any) -> None:
    assert strict_json.is_ordinary(value) == is_ordinary_plainly(value)


@pytest.mark.parametrize("innermost", [1, "a", [], {}, 1e-5, None, [1], {"a": 1}])
@pytest.mark.parametrize("num_levels", [0, 1, 98, 99, 100, 101])
def test_an_ordinary_value_has_so_many_levels_at_most(innermost: Any, num_levels: int) -> None:
    lists, objects = innermost, innermost
    for _ in range(num_levels):
        lists, objects = [0, lists], {"a": "b", "c": objects}
    for value in (lists, objects):
        assert strict_json.is_ordinary(value) == is_ordinary_plainly(value)


@pytest.mark.parametrize("value", [(1,), {"a": (1,)}, [b"a"], {"a": {1, 2}}])
def test_what_is_no_json_value_is_not_ordinary(value: Any) -> None:
    assert not strict_json.is_ordinary(value)


@pytest.mark.parametrize("write", [strict_json.fingerprint, strict_json.canonical_bytes, strict_json.dump_bytes])
def test_bytes_that_are_kept_take_little_more_than_their_length(write: Callable[[Any], bytes]) -> None:
    messages = [{"role": "tool", "content": "x" * length} for length in range(500, 1500)]
    tracemalloc.start()
    try:
        kept = [write(message) for message in messages]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, kept)) < held < 1.2 * sum(map(len, kept))
