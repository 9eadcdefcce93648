"""What was read is not read again, and is never anything but what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import BadRecord
from arshai_kit.memory.encoding import encoded, joined
from arshai_kit.memory.recent import Recent
from arshai_kit.records import user
from tests.memory.backends import Store
from tests.memory.test_contract import ask


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "add", "cut", "swap", "drop", "read"]))))
def test_it_gives_what_the_records_hold(operations: list[tuple[str, str]]) -> None:
    """Whatever has become of them in the meantime, and however little is held."""
    for most in (0, 2_500, 10**6):
        recent, kept = Recent(most), dict[str, list[bytes]](a=[], b=[], c=[])
        for number, (key, what) in enumerate(operations):
            match what:
                case "add":
                    kept[key] = [*kept[key], encoded([user(f"{number}")])]
                case "cut":
                    kept[key] = kept[key][:-1]
                case "swap":
                    kept[key] = kept[key][::-1]
                case "drop":
                    recent.drop(key)
            assert recent.joined(list(kept[key]), key) == joined(kept[key])
            assert recent.bytes <= most
        for key in kept:
            recent.drop(key)
        assert (recent.bytes, len(recent)) == (0, 0)


def test_only_what_is_new_is_read() -> None:
    recent, records = Recent(), [encoded([user(f"{number}")]) for number in range(5)]
    before = recent.joined(records[:3], "k")
    after = recent.joined(records, "k")
    assert all(old is new for old, new in zip(before, after, strict=False))
    assert recent.joined(list(records), "k") == after
    with pytest.raises(BadRecord, match="'k'"):
        recent.joined([*records, b"[1"], "k")
    assert recent.joined(records, "k") == after


def test_what_was_read_longest_ago_gives_way() -> None:
    recent, record = Recent(5_000), encoded([user("x")])
    for key in "abcdea":
        recent.joined([record], key)
    assert len(recent) == 4
    assert 0 < recent.bytes <= 5_000
    recent.joined([encoded([user("x" * 3_000)])], "large")
    assert len(recent) == 4


def test_what_is_forgotten_is_not_held(store: Store) -> None:
    memory = store.memory()
    ask(memory, "append", "k", [user("secret")])
    ask(memory, "load", "k")
    ask(memory, "forget", "k")
    held = getattr(memory.backend, "recent", ())
    assert len(held) == 0
