"""A function is given a string or a conversation, and what it raises may be raised elsewhere too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from arshai_kit import pipe, system, user
from arshai_kit.agents import latest
from arshai_kit.effects import Plan
from arshai_kit.errors import ProviderError, ServerFailed, anew
from arshai_kit.memory import in_memory, remembering
from arshai_kit.testing import strategies
from tests.core.worlds import World, everywhere


@given(strategies.messages().map(lambda message: (message, user("and last"))))
def test_the_last_words_of_a_user_are_the_latest(prompt: Any) -> None:
    assert latest(prompt) == "and last"
    assert latest((*prompt, system("be kind"))) == "and last"


def test_nobody_may_have_said_anything() -> None:
    assert latest((system("be kind"),)) == ""


@everywhere
def test_a_function_in_a_memory_finds_what_is_asked(world: World) -> None:
    chat = remembering(lambda prompt: latest(prompt).upper(), in_memory())
    assert world.run(lambda: chat.plan("one", key="ann")).text == "ONE"
    assert world.run(lambda: chat.plan("two", key="ann")).text == "TWO"


@everywhere
def test_an_error_that_two_runs_raise_has_what_each_had(world: World) -> None:
    """A failed connection that is kept, a future that many wait for."""
    shared = ServerFailed("down", status=503)
    shared.add_note("kept")
    shared.__cause__ = cause = OSError("no route")

    def fails(_: Any) -> Any:
        raise shared

    def desk(name: str) -> Plan[Any]:
        return pipe(lambda _: f"private to {name}", fails).plan("Hello")

    for name in ("ann", "bob"):
        with pytest.raises(ServerFailed, match="down") as caught:
            world.run(lambda: desk(name))  # noqa: B023  # it is run here
        assert [message.text for message in caught.value.partial.messages] == [f"private to {name}"]
        assert (caught.value.status, caught.value.__cause__, caught.value.__notes__[0]) == (503, cause, "kept")
    assert shared.partial is None


def test_an_error_anew_is_the_same_error() -> None:
    error = ProviderError("down", status=500, code="x", retry_after=3.0)
    other = anew(error)
    assert other is not error
    assert (type(other), other.args, vars(other)) == (ProviderError, error.args, vars(error))
