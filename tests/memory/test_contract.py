"""What every memory promises, whatever keeps it: held against a model in plain Python."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit.errors import Conflict, Misuse, TooLarge
from arshai_kit.faces import drive
from arshai_kit.memory import Conversation, Memory, Note
from arshai_kit.memory.encoding import encoded
from arshai_kit.memory.sharing import fitting
from arshai_kit.records import Message, Opaque, ToolCall, assistant, tool_result, user
from arshai_kit.testing import strategies
from tests.core.worlds import World, everywhere
from tests.memory.backends import Store

SECRET = "xyzzy-plugh"
KEYS = ["a", "b", "a:b", "{a}b", "ключ 🧪", "\ud800lone", "nul\0", "%7B", " ", "'; drop table x; --"]


def ask(memory: Memory, name: str, *args: Any) -> Any:
    """What the function *name* of *memory* gives, whatever face it has."""
    return drive(memory.asked(getattr(memory, name), *args))


# -- arbitrary sequences of operations --


def _operations() -> st.SearchStrategy[tuple[Any, ...]]:
    keys = st.sampled_from(KEYS[:4]) | st.sampled_from(KEYS) | st.text(min_size=1, max_size=6)
    said = st.lists(strategies.messages(), max_size=2)
    ids = st.sampled_from(["", "", "1", "2", "\ud800"])
    names = st.sampled_from(["summary", "\0", "ß\ud800", ""])
    stale = st.booleans()
    return st.one_of(
        st.tuples(st.just("append"), keys, said, ids),
        st.tuples(st.just("append"), keys, said, ids),
        st.tuples(st.just("replace"), keys, said, stale),
        st.tuples(st.just("forget"), keys),
        st.tuples(st.just("note"), keys, names, strategies.json_values(), st.sampled_from(["any", "right", "stale"])),
    )


class Model:
    """What a memory is, in plain Python; the numbers of versions are the memory's to choose."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.said: dict[str, list[Message]] = {}
        self.versions: dict[str, int] = {}
        self.ids: dict[str, set[str]] = {}
        self.notes: dict[str, dict[str, tuple[Any, int]]] = {}

    def append(self, key: str, messages: list[Message], own: str) -> None:
        version = ask(self.memory, "append", key, messages, own)
        known = self.ids.setdefault(key, set())
        if own in known or not messages:
            assert version == self.versions.get(key, 0)
            return
        known |= {own} if own else set()
        self._grew(key, version)
        self.said[key] = [*self.said.get(key, []), *messages]

    def replace(self, key: str, messages: list[Message], stale: bool) -> None:
        version = self.versions.get(key, 0)
        if stale:
            with pytest.raises(Conflict) as raised:
                ask(self.memory, "replace", key, messages, version + 1)
            assert raised.value.version == version
            return
        self._grew(key, ask(self.memory, "replace", key, messages, version))
        self.said[key] = messages

    def forget(self, key: str) -> None:
        ask(self.memory, "forget", key)
        for each in (self.said, self.versions, self.ids, self.notes):
            each.pop(key, None)

    def note(self, key: str, name: str, value: Any, how: str) -> None:
        notes = self.notes.setdefault(key, {})
        version = notes.get(name, (None, 0))[1]
        if how == "stale":
            with pytest.raises(Conflict) as raised:
                ask(self.memory, "note", key, name, value, version + 1)
            assert raised.value.version == version
            return
        given_version = None if how == "any" else version
        found = ask(self.memory, "note", key, name, value, given_version)
        assert found > version
        notes[name] = value, found

    def _grew(self, key: str, version: int) -> None:
        assert type(version) is int
        assert version > self.versions.get(key, 0)
        self.versions[key] = version

    def check(self, key: str) -> None:
        said, version = tuple(self.said.get(key, ())), self.versions.get(key, 0)
        assert ask(self.memory, "load", key) == Conversation(said, version)
        for name in ("summary", "\0", "ß\ud800", "", "never"):
            assert ask(self.memory, "noted", key, name) == Note(*self.notes.get(key, {}).get(name, (None, 0)))


@settings(settings.get_profile("few"))
@given(operations=st.lists(_operations(), max_size=12))
def _behaves(fresh: Callable[[], Memory], operations: list[tuple[Any, ...]]) -> None:
    model = Model(fresh())
    for name, key, *args in operations:
        getattr(model, name)(key, *args)
        model.check(key)
    for key in {key for _, key, *_ in operations}:
        model.check(key)


def test_a_memory_is_what_it_is_in_plain_python(store: Store) -> None:
    """Any operations, on keys of any letters, with any messages and notes."""
    _behaves(store.fresh)


# -- each promise by itself --


@everywhere
def test_a_turn_in_every_world(store: Store, world: World) -> None:
    memory, said = store.memory(), (user("Rain?"), assistant("No."))
    assert world.run(lambda: memory.asked(memory.load, "k")) == Conversation()
    version = world.run(lambda: memory.asked(memory.append, "k", said, "turn-1"))
    assert world.run(lambda: memory.asked(memory.append, "k", said, "turn-1")) == version
    assert world.run(lambda: memory.asked(memory.load, "k")) == Conversation(said, version)


def test_its_functions_can_be_called_by_hand(store: Store) -> None:
    memory = store.memory()
    version = memory.append("k", [user("Hello")])
    assert memory.load("k") == Conversation((user("Hello"),), version)
    memory.forget("k")
    assert memory.load("k").version == 0


def test_an_id_counts_once_and_for_one_key(store: Store) -> None:
    """A late repetition finds its id, also when what it said has been replaced."""
    memory = store.memory()
    version = ask(memory, "append", "a", [user("1")], "x")
    version = ask(memory, "replace", "a", [user("summary")], version)
    assert ask(memory, "append", "a", [user("1")], "x") == version
    assert ask(memory, "load", "a").messages == (user("summary"),)
    ask(memory, "append", "b", [user("1")], "x")
    assert ask(memory, "load", "b").messages == (user("1"),)


def test_a_version_is_never_that_of_what_was_forgotten(store: Store) -> None:
    """Who still holds the version from before does not write over what was said since."""
    memory = store.memory()
    old = ask(memory, "append", "k", [user("old")])
    ask(memory, "forget", "k")
    ask(memory, "append", "k", [user("new")])
    with pytest.raises(Conflict):
        ask(memory, "replace", "k", [user("by mistake")], old)
    assert ask(memory, "load", "k").messages == (user("new"),)


@pytest.mark.parametrize("name", ["load", "append", "replace", "forget", "noted", "note", "enter"])
@pytest.mark.parametrize("key", ["", 7, None, b"bytes"])
def test_a_key_is_text(store: Store, name: str, key: Any) -> None:
    more: dict[str, Any] = {
        "append": ([],),
        "replace": ([], 0),
        "noted": ("n",),
        "note": ("n", 1),
        "enter": ("id", 1.0),
    }
    with pytest.raises(Misuse, match="key="):
        ask(store.memory(), name, key, *more.get(name, ()))


@pytest.mark.parametrize("wrong", [5, b"bytes"])
def test_ids_and_names_of_notes_are_text(store: Store, wrong: Any) -> None:
    memory = store.memory()
    for name, *args in (("append", [user("Hi")], wrong), ("noted", wrong), ("note", wrong, 1)):
        with pytest.raises(Misuse, match=r"\btexts?, not"):
            ask(memory, name, "k", *args)
    assert ask(memory, "load", "k") == Conversation()


def test_what_is_no_message_is_refused(store: Store) -> None:
    memory = store.memory()
    for wrong in ("words", ["words"], [{"role": "user", "content": "hi"}], user("hi"), 7):
        with pytest.raises(Misuse, match="messages"):
            ask(memory, "append", "k", wrong)
    with pytest.raises(Misuse, match="JSON"):
        ask(memory, "note", "k", "n", object())
    assert ask(memory, "load", "k") == Conversation()


def test_more_than_is_kept_is_refused_and_changes_nothing(store: Store) -> None:
    memory = store.small(20_000)
    version = ask(memory, "append", "k", [user("Hello")])
    refused: list[tuple[str, Any, Any]] = [
        ("append", [user("x" * 30_000)], "id"),
        ("replace", [user("x" * 30_000)], version),
        ("note", "summary", "x" * 30_000),
    ]
    for name, *args in refused:
        with pytest.raises(TooLarge) as raised:
            ask(memory, name, "k", *args)
        assert raised.value.limit == 20_000 < raised.value.size
    assert ask(memory, "load", "k") == Conversation((user("Hello"),), version)
    assert ask(memory, "noted", "k", "summary") == Note()
    assert ask(memory, "append", "k", [user("short")], "id") > version


def test_version_0_is_that_of_what_is_not_there(store: Store) -> None:
    memory = store.memory()
    made, noted = ask(memory, "replace", "k", [user("1")], 0), ask(memory, "note", "k", "n", 1, 0)
    for name, *args in (("replace", [user("2")], 0), ("note", "n", 2, 0)):
        with pytest.raises(Conflict) as refused:
            ask(memory, name, "k", *args)
        assert refused.value.version == (made if name == "replace" else noted)
    assert (ask(memory, "load", "k").messages, ask(memory, "noted", "k", "n").value) == ((user("1"),), 1)


@pytest.mark.parametrize("said", [[], ["Hello"], ['a\n"b"', "\0\ud800ß🧪", "x" * 9000]])
def test_a_conversation_says_how_much_may_be_added_to_it(store: Store, said: list[str]) -> None:
    memory = store.small(20_000)
    for text in said:
        ask(memory, "append", "k", [user(text)])
    found = ask(memory, "load", "k")
    assert 0 < found.room <= 20_000 - sum(len(encoded([user(text)])) for text in said)
    for lacking in ([user("x" * found.room)], [user("\0")] * 3000, [assistant(Opaque("x", "y" * 20_000))]):
        with pytest.raises(TooLarge) as told:
            fitting(found, lacking, "k", memory.backend)
        with pytest.raises(TooLarge) as refused:
            ask(memory, "append", "k", lacking)
        assert (told.value.limit, refused.value.limit) == (20_000, 20_000)
        assert 20_000 < told.value.size <= refused.value.size
    fitting(found, [user("short")], "k", memory.backend)
    ask(memory, "append", "k", [user("short")])
    assert ask(memory, "load", "k").room < found.room


def test_what_is_forgotten_is_nowhere(store: Store) -> None:
    """The conversation, its ids and notes: a scan of the store finds none of them, and all of its neighbour's."""
    memory = store.memory()
    call = ToolCall("c1", "look", {"what": SECRET})
    for key in (f"{SECRET}-key", "neighbour"):
        said = [user(f"{SECRET} said"), assistant(call), tool_result(call, f"{SECRET} found")]
        version = ask(memory, "append", key, said, f"{SECRET}-id-{key}")
        ask(memory, "note", key, f"{SECRET}-name", {"summary": SECRET})
        ask(memory, "replace", key, [user(f"{SECRET} replaced")], version)
        assert ask(memory, "enter", key, f"{SECRET}-turn", 60.0) == 0.0
        ask(memory, "leave", key, f"{SECRET}-turn")
    ask(memory, "forget", f"{SECRET}-key")
    assert f"{SECRET}-key".encode() not in store.scan()
    assert SECRET.encode() in store.scan()
    ask(memory, "forget", "neighbour")
    assert SECRET.encode() not in store.scan()
    ask(memory, "forget", "nobody")


# -- many at a time --


def test_20_writers_of_20_appends_each_make_400(store: Store) -> None:
    """Each is said twice, as if its reply had been lost; every reader sees one order, that only grows."""
    start, over = threading.Barrier(22), threading.Event()

    def write(writer: int) -> None:
        memory = store.memory()
        start.wait(60)
        for number in range(20):
            for _ in range(2):
                ask(memory, "append", "k", [user(f"{writer}"), assistant(f"{number}")], f"{writer}-{number}")

    def read() -> list[tuple[Message, ...]]:
        memory, found = store.memory(), []
        start.wait(60)
        while not over.wait(0.02):
            found.append(ask(memory, "load", "k").messages)
        return found

    with ThreadPoolExecutor(22) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for each in [pool.submit(write, number) for number in range(20)]:
                each.result(300)
        finally:
            over.set()
        seen = [reader.result(300) for reader in readers]
    whole = ask(store.memory(), "load", "k").messages
    turns = [(asked.text, answered.text) for asked, answered in zip(whole[::2], whole[1::2], strict=True)]
    assert len(whole) == 800
    assert len(set(turns)) == 400
    for writer in map(str, range(20)):
        assert [number for who, number in turns if who == writer] == [f"{number}" for number in range(20)]
    for found in seen:
        assert all(each == whole[: len(each)] and not len(each) % 2 for each in found)


def test_of_many_who_replace_one_version_one_succeeds(store: Store) -> None:
    version = ask(store.memory(), "append", "k", [user("first")])
    start = threading.Barrier(8)

    def replace(number: int) -> bool:
        memory = store.memory()
        start.wait(60)
        try:
            ask(memory, "replace", "k", [user(f"{number}")], version)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(replace, range(8)))
    assert won.count(True) == 1
    assert ask(store.memory(), "load", "k").messages == (user(f"{won.index(True)}"),)


# -- turns --


def test_turns_are_given_in_the_order_in_which_they_were_asked_for(store: Store) -> None:
    memory = store.memory()
    assert ask(memory, "enter", "k", "a", 60.0) == 0.0
    assert ask(memory, "enter", "k", "a", 60.0) == 0.0  # it has it, and has it for longer now
    assert ask(memory, "enter", "other", "b", 60.0) == 0.0
    for each in ("b", "c", "d", "c", "b"):
        assert 0 < ask(memory, "enter", "k", each, 60.0) <= 1
    ask(memory, "leave", "k", "c")  # it gives up
    ask(memory, "leave", "k", "stranger")
    ask(memory, "leave", "k", "a")
    assert ask(memory, "enter", "k", "d", 60.0) > 0  # b was before it
    assert ask(memory, "enter", "k", "b", 60.0) == 0.0
    assert ask(memory, "enter", "k", "d", 60.0) > 0
    ask(memory, "leave", "k", "b")
    assert ask(memory, "enter", "k", "d", 60.0) == 0.0
    ask(memory, "leave", "k", "d")
    assert ask(memory, "enter", "k", "e", 60.0) == 0.0


def test_a_turn_that_is_never_given_back_ends_by_itself(store: Store) -> None:
    memory = store.memory()
    assert ask(memory, "enter", "k", "dead", 0.05) == 0.0
    waiting = threading.Event()
    for _ in range(3000):
        if ask(memory, "enter", "k", "next", 60.0) == 0.0:
            return
        waiting.wait(0.01)
    pytest.fail("it never ended")


def test_a_turn_outlasts_forgetting(store: Store) -> None:
    """Whoever speaks still does, and nobody else beside it."""
    memory = store.memory()
    assert ask(memory, "enter", "k", "a", 60.0) == 0.0
    ask(memory, "forget", "k")
    assert ask(memory, "enter", "k", "b", 60.0) > 0
    ask(memory, "leave", "k", "a")
    assert ask(memory, "enter", "k", "b", 60.0) == 0.0
