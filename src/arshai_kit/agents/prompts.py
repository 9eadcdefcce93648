"""What a function that is an agent is given: a string, or all that was said before it."""

from __future__ import annotations

from arshai_kit.models import Prompt, thread

__all__ = ["latest"]


def latest(prompt: Prompt) -> str:
    """The words that the user said last in *prompt*: a function is given a string, or what was said before it too.

    A memory around an agent, or a check that asks it again, hands it the whole conversation.

    >>> from arshai_kit import assistant, user
    >>> latest("My invoice!"), latest((user("Hello"), assistant("Yes?"), user("My invoice!")))
    ('My invoice!', 'My invoice!')
    """
    said = [message.text for message in thread(prompt) if message.role == "user"]
    return said[-1] if said else ""
