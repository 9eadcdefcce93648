"""What is known about somebody: typed, kept across conversations, merged, and forgotten on request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _threads, openai_compatible
from arshai_kit._threads import Background
from arshai_kit.completion import run
from arshai_kit.effects import Plan, Spawn
from arshai_kit.errors import Conflict, ForeignFormat, Misuse, Unreachable
from arshai_kit.faces import drive
from arshai_kit.memory import Memory
from arshai_kit.memory.facts import Facts, facts, known, merged
from arshai_kit.memory.redacting import emails, redacted
from arshai_kit.memory.summaries import summarised
from arshai_kit.memory.views import composed, windowed
from arshai_kit.models import Ask
from arshai_kit.records import Message, Notice, assistant, system, user
from arshai_kit.scope import using
from arshai_kit.testing import scripted
from tests.core.worlds import World, everywhere, listening
from tests.memory.dictionaries import Store
from tests.transport.server import SOON

MODEL = openai_compatible("tiny", base_url="http://localhost:1", api_key="")


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads._process, "background", Background())


@dataclass
class Profile:
    """What a shop knows."""

    name: str = ""
    city: str | None = None
    likes: list[str] = field(default_factory=list)
    pets: dict[str, str] = field(default_factory=dict)


def person(key: str) -> str:
    return key.partition("/")[0]


def view(**more: Any) -> Facts:
    return facts(MODEL, Profile, **{"about": person, "wait": True, **more})


def found(**fields: Any) -> str:
    return json.dumps({"name": "", "city": None, "likes": [], "pets": {}, **fields})


def said(ask: Ask) -> str:
    return ask.messages[-1].text.partition("The new messages:\n")[2]


def remember(store: Store, key: str, shown: Any, *answer: Message) -> None:
    """What `remembering` does once the answer is there."""
    store.append(key, (*shown.given, *answer))


@everywhere
def test_who_is_known_is_known_in_the_next_conversation(world: World) -> None:
    store = Store()
    with scripted(found(name="Ann", likes=["tea"])) as script:
        shown = world.run(lambda: run.plan(view(), store.recalled("ann/1", user("I am Ann, and I like tea."))))
    assert said(script.asked[0]) == "user: I am Ann, and I like tea."
    assert shown.messages[0].role == "system"
    assert shown.messages[0].text.endswith('{"name":"Ann","likes":["tea"]}')
    with scripted(found(likes=["chess"])) as script:
        shown = world.run(lambda: run.plan(view(), store.recalled("ann/2", user("Chess?"))))
    assert '{"name":"Ann","likes":["tea"]}' in script.asked[0].messages[-1].text
    assert shown.messages[0].text.endswith('{"name":"Ann","likes":["tea","chess"]}')
    assert world.run(lambda: known.plan(store.memory, "ann", Profile)) == Profile("Ann", likes=["tea", "chess"])
    assert known(store.memory, "bob", Profile) == Profile()


def test_nothing_is_read_twice() -> None:
    store = Store()
    for number in range(4):
        with scripted(found(city=f"city {number}")) as script:
            shown = view()(store.recalled("ann/1", user(f"question {number}")))
        assert said(script.asked[0]) == ("" if not number else f"assistant: answer {number - 1}\n") + (
            f"user: question {number}"
        )
        remember(store, "ann/1", shown, assistant(f"answer {number}"))
    assert known(store.memory, "ann", Profile).city == "city 3"


def test_what_a_failed_turn_asked_is_read_again_alone() -> None:
    """Nothing of it has been appended; all before it was read."""
    store = Store()
    with scripted(found()):
        remember(store, "k", view(about=None)(store.recalled("k", user("one"))), assistant("two"))
    for before in ("assistant: two\n", ""):
        with scripted(found()) as script:
            view(about=None)(store.recalled("k", user("three")))
        assert said(script.asked[0]) == f"{before}user: three"


def test_a_redacted_prompt_is_read_once_and_as_it_is_left() -> None:
    store = Store()
    made = composed(redacted(emails), view(about=None), windowed(turns=0))
    with scripted(found()) as script:
        shown = made(store.recalled("k", user("I am ann@example.org")))
    assert said(script.asked[0]) == "user: I am [e-mail]"
    remember(store, "k", shown, assistant("Hello!"))
    assert store.load("k").messages[0].text == "I am ann@example.org"
    with scripted(found()) as script:
        shown = made(store.recalled("k", user("Well?")))
    assert said(script.asked[0]) == "assistant: Hello!\nuser: Well?"
    assert (shown.messages, shown.prompt) == ((), (user("Well?"),))


def test_without_words_of_a_user_nobody_is_asked() -> None:
    store = Store()
    store.append("k", (system("Be kind."), assistant("Welcome!")))
    with scripted():
        assert len(view()(store.recalled("k")).messages) == 2
    assert store.notes == {}


@everywhere
def test_in_the_background_the_next_turn_knows_it(world: World) -> None:
    store = Store()
    with scripted(found(name="Ann")), using(drain=SOON):
        shown = world.run(lambda: run.plan(view(wait=False), store.recalled("ann/1", user("I am Ann."))))
    assert shown.messages == ()
    remember(store, "ann/1", shown, assistant("Hello, Ann!"))
    with scripted(found()), using(drain=SOON):
        shown = world.run(lambda: run.plan(view(wait=False), store.recalled("ann/2", user("Who am I?"))))
    assert shown.messages[0].text.endswith('{"name":"Ann"}')


@listening
def test_its_failure_is_told_and_harmless(world: World) -> None:
    store = Store()
    shown: list[Any] = []

    def plan() -> Any:
        shown.append((yield from run.plan(view(), store.recalled("ann/1", user("I am Ann.")))))

    with scripted(Unreachable("away")):
        notices = [event for event in world.events(plan) if isinstance(event, Notice)]
    assert notices == [Notice("not_noted", "ann", "Unreachable: away")]
    assert (shown[0].messages, store.notes) == ((), {})
    with scripted("no JSON", "again none"):
        assert view()(store.recalled("ann/1", user("I am Ann."))).messages == ()
    assert store.notes == {}


def test_two_conversations_of_one_person_at_once_are_both_kept() -> None:
    """Each reads before the other writes: what both found is merged."""
    store, both = Store(), threading.Barrier(2)

    def answer(ask: Ask) -> str:
        both.wait(SOON)
        return found(name="Ann", likes=[said(ask).removeprefix("user: ")])

    def talk(key: str) -> None:
        view()(store.recalled(key, user(key)))

    with scripted(answer, answer):
        import contextvars

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(talk, key)) for key in ("ann/1", "ann/2")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    profile = known(store.memory, "ann", Profile)
    assert (profile.name, sorted(profile.likes)) == ("Ann", ["ann/1", "ann/2"])


def test_whoever_is_overtaken_looks_again() -> None:
    store, number = Store(), count()

    def overtaken(*args: Any) -> int:
        if next(number) % 3:
            raise Conflict("somebody was quicker")
        return store.note(*args)

    memory = Memory(store.load, store.append, store.replace, store.forget, store.noted, overtaken, in_memory=True)
    with scripted(found(name="Ann")):
        view()(store.recalled("ann/1", user("I am Ann."), memory=memory))
    assert known(store.memory, "ann", Profile).name == "Ann"

    def never(*args: Any) -> int:
        if "busy" not in args[2]:
            raise Conflict("somebody is always quicker")
        return store.note(*args)

    memory = Memory(store.load, store.append, store.replace, store.forget, store.noted, never, in_memory=True)
    with scripted(found(name="Bo")):
        view()(store.recalled("bo/1", user("I am Bo."), memory=memory))
    assert known(store.memory, "bo", Profile).name == ""


def test_what_is_forgotten_is_not_known_and_does_not_come_back() -> None:
    store = Store()

    def forgetful(_: Ask) -> str:
        store.memory.forget("ann/1")
        store.memory.forget("ann")
        return found(name="Ann")

    with scripted(found(name="Ann"), forgetful):
        remember(store, "ann/1", view()(store.recalled("ann/1", user("I am Ann."))), assistant("Hello, Ann!"))
        assert "Ann" in store.dump()
        view()(store.recalled("ann/1", user("I am Ann, I say.")))
    assert store.dump() == "[][]"
    assert known(store.memory, "ann", Profile) == Profile()


def test_what_becomes_of_old_and_new_may_be_said() -> None:
    store = Store()

    def newest(old: Profile, new: Profile) -> Profile:
        return Profile(new.name or old.name, likes=new.likes)

    made = view(merge=newest)
    with scripted(found(name="Ann", likes=["tea"]), found(likes=["chess"])):
        made(store.recalled("ann/1", user("tea")))
        made(store.recalled("ann/2", user("chess")))
    assert known(store.memory, "ann", Profile) == Profile("Ann", likes=["chess"])


def test_a_type_that_has_grown_reads_what_was_noted_and_another_is_refused() -> None:
    store = Store()
    with scripted(found(name="Ann")):
        view()(store.recalled("ann/1", user("I am Ann.")))

    @frozen
    class Grown:
        name: str = ""
        age: int | None = None

    Grown.__name__ = "Profile"
    store.note("ann", "facts Profile", {**store.noted("ann", "facts Profile").value, "facts": {"name": "Ann"}}, None)
    assert known(store.memory, "ann", Grown) == Grown("Ann")
    store.note("ann", "facts Profile", {"v": 1, "facts": {"name": 3}}, None)
    with pytest.raises(ForeignFormat, match=r"fits no Profile: .*forget the note"):
        known(store.memory, "ann", Grown)


def test_of_many_conversations_the_latest_are_remembered_as_read() -> None:
    store = Store()
    with scripted(*[found() for _ in range(103)]):
        for number in range(103):
            view()(store.recalled(f"ann/{number}", user("Hi")))
    seen = store.noted("ann", "facts Profile").value["seen"]
    assert list(seen) == [f"ann/{number}" for number in range(3, 103)]


SCALARS = st.sampled_from(["", "Ann", "Bo"])
PROFILES = st.builds(
    Profile,
    SCALARS,
    st.none() | SCALARS,
    st.lists(SCALARS, max_size=3, unique=True),
    st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2),
)


def joined(*profiles: Profile) -> dict[str, Any]:
    """The profiles merged, from the left."""
    from arshai_kit.schema import unstructured

    whole, empty = unstructured(profiles[0]), unstructured(Profile())
    for each in profiles[1:]:
        whole = merged(whole, unstructured(each), empty)
    return dict(whole)


@given(PROFILES, PROFILES, PROFILES)
def test_merging_is_a_monoid_and_idempotent(one: Profile, two: Profile, three: Profile) -> None:
    from arshai_kit.schema import unstructured

    empty = unstructured(Profile())
    assert joined(one, Profile()) == joined(one) == joined(Profile(), one)
    assert merged(joined(one, two), unstructured(three), empty) == merged(joined(one), joined(two, three), empty)
    assert joined(one, one) == joined(one)


@dataclass
class Strict:
    """What cannot be empty."""

    name: str


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: facts("gpt", Profile), "facts\\(\\) takes a model"),
        (lambda: facts(MODEL, Strict), "whose fields all have a default"),
        (lambda: facts(MODEL, int), "a type with fields, .* not <class 'int'>"),
        (lambda: facts(MODEL, dict), "a type with fields"),
        (lambda: view()(Store().recalled("k", user("?"), memory=Memory(*[len] * 4))), "there is no memory for them"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        make()


def test_a_view_is_a_value() -> None:
    assert evolve(view(), wait=False).wait is False
    assert drive(run.plan(composed(), Store().recalled("k"))).messages == ()


def test_much_that_is_new_is_read_in_pieces() -> None:
    """A message that no model can read is told without its middle, and what else is new is read all the same."""
    store = Store()
    store.append("ann/1", (user("I am Ann. " + "word " * 5000), assistant("Long!"), *[user("x " * 300)] * 9))

    def small(ask: Ask) -> str:
        assert len(ask.messages[-1].text) < 8000
        return found(name="Ann" if "I am Ann." in said(ask) else "", likes=["tea"] if "tea" in said(ask) else [])

    with scripted(*[small] * 3) as script:
        view(at_once=1000)(store.recalled("ann/1", user("I like tea.")))
    assert len(script.asked) == 3
    assert known(store.memory, "ann", Profile) == Profile("Ann", likes=["tea"])
    with pytest.raises(Misuse, match="at_once="):
        view(at_once=0)


def test_what_another_version_of_the_type_knows_stays() -> None:
    """As while a new one is rolled out: neither breaks what the other noted."""

    @dataclass
    class Older:
        name: str = ""

    Older.__name__ = "Profile"
    store = Store()
    with scripted(found(name="Ann", likes=["tea"])):
        view()(store.recalled("ann/1", user("I am Ann, I like tea.")))
    with scripted(json.dumps({"name": "Anna"})):
        older = facts(MODEL, Older, about=person, wait=True)
        assert older(store.recalled("ann/2", user("No, Anna."))).messages[0].text.endswith('{"name":"Anna"}')
    assert known(store.memory, "ann", Older) == Older("Anna")
    assert known(store.memory, "ann", Profile) == Profile("Anna", likes=["tea"])


@pytest.mark.parametrize("before", [0, 2])
def test_what_is_forgotten_before_the_background_begins_does_not_come_back(before: int) -> None:
    spawned: list[Any] = []

    def on_spawn(spawn: Spawn, _: Any) -> Plan[None]:
        spawned.append(spawn.make_plan)
        return
        yield

    store = Store()
    view_ = composed(view(wait=False), summarised(MODEL, over=1, keep=0))
    for number in range(before):
        store.append("ann/1", (user(f"question {number}"), assistant("Well.")))
    with using(layers=[{Spawn: on_spawn}]):
        shown = view_(store.recalled("ann/1", user("I am Ann.")))
    remember(store, "ann/1", shown)
    store.forget("ann/1")
    store.forget("ann")
    assert len(spawned) == (2 if before else 1)
    with scripted():  # no model is asked
        for each in spawned:
            assert not drive(each())
    assert store.dump() == "[][]"
