"""What went wrong, and whose fault it was.

::

    ArshaiError                what a run had so far is in `.partial`
    ├── Misuse                 the program: what was passed in cannot work (also a ValueError)
    │   ├── MissingKey         no API key: names the variable to set
    │   ├── BadSchema          a type that cannot be described to a model: says which parameter
    │   ├── NotAPlan           a plan was given as a plain function: says how to mark it; no tool loop tells a model
    │   ├── PauseRefused       a paused run that cannot go on here: changed, or of another agent: says which
    │   └── Unsupported        the model is known not to take this: says what to change
    ├── ProviderError          the provider or the way to it: `.status`, `.code`, `.retry_after`, `.request_id`
    │   ├── Unreachable        no connection, or one that broke
    │   ├── TimedOut           silent for too long, or the deadline passed (also a TimeoutError)
    │   ├── BadRequest         the provider refuses the request as it is
    │   │   └── ContentTooLong the prompt does not fit the model
    │   ├── Unauthorized       the key is missing, wrong or not allowed to do this
    │   ├── NotFound           no such model or address
    │   ├── RateLimited        too many requests or no credit left
    │   │   └── OverLimit      a limit of your own: refused before anything was sent
    │   ├── ServerFailed       the provider broke or is overloaded
    │   ├── BadReply           what came is not an answer: HTML, cut or malformed JSON, too large, too deep
    │   └── StreamIncomplete   the stream ended before the provider said so; the partial reply is in `.partial`
    ├── BadAnswer              the model: its answer does not fit the type asked for
    ├── NoRoute                whoever was to choose an agent: it named none that there is, or was not sure enough
    ├── Exhausted              the model: it used up its rounds, calls, tokens or money; go on from `.partial.messages`
    ├── CircuitOpen            a breaker of yours: it failed too often and is left alone for a while; nothing was sent
    ├── GuardTripped           a guard of yours: says which check, and what is wrong; the agent was stopped
    ├── ApprovalNeeded         nobody yet: a person has to decide; `.paused` goes on later; no tool loop tells a model
    ├── RestartRefused         a loop that has called tools while a reply streamed: it cannot begin anew
    ├── StoreUnreachable       the store that processes share is away, or is taking over: ask again
    ├── StoreRefused           the store does not let us: wrong password, no permission; asking again does not help
    ├── StoreFull              the store has no room (`maxmemory`): nothing was written
    ├── OverBudget             a budget of yours: refused before the call; no tool loop tells a model
    ├── Conflict               what a memory keeps has changed since it was read: read it again; nothing was written
    ├── TurnTaken              a turn of this conversation is under way, and another one was not to wait
    ├── TooLarge               more than a memory is set to keep: nothing was written
    ├── BadRecord              what a memory keeps cannot be read: cut, or changed by somebody else; left as it is
    │   └── ForeignFormat      it was written by a newer version, or by another program: says what to do
    ├── BadDocument            a document that cannot be read: damaged, locked, of an unknown kind: says which and why
    │   └── DocumentTooLarge   it is more, or would unfold to more, than its limits allow: says which limit
    ├── OtherVectors           an index holds vectors of another model or size: says of which; nothing was written
    └── RunError               the test or journal around the run; ends it, and no tool loop tells a model
        ├── Diverged           a replayed run asked for something else than the recording holds
        └── ScriptError        a scripted run asked for more answers than there are, or for fewer
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar

__all__ = [
    "ApprovalNeeded",
    "ArshaiError",
    "BadAnswer",
    "BadDocument",
    "BadRecord",
    "BadReply",
    "BadRequest",
    "BadSchema",
    "CircuitOpen",
    "Conflict",
    "ContentTooLong",
    "Diverged",
    "DocumentTooLarge",
    "Exhausted",
    "ForeignFormat",
    "GuardTripped",
    "MissingKey",
    "Misuse",
    "NoRoute",
    "NotAPlan",
    "NotFound",
    "OtherVectors",
    "OverBudget",
    "OverLimit",
    "PauseRefused",
    "ProviderError",
    "RateLimited",
    "RestartRefused",
    "RunError",
    "ScriptError",
    "ServerFailed",
    "StoreFull",
    "StoreRefused",
    "StoreUnreachable",
    "StreamIncomplete",
    "TimedOut",
    "TooLarge",
    "TurnTaken",
    "Unauthorized",
    "Unreachable",
    "Unsupported",
    "anew",
    "need",
    "too_large",
]


T = TypeVar("T", bound="ArshaiError")


class ArshaiError(Exception):
    """Whatever goes wrong here; *partial* is what the run had gathered until then (a `Response`), or `None`."""

    ends_run: ClassVar[bool] = False
    """An error meant for the user, which no tool loop may tell to a model."""

    def __init__(self, message: str = "", *, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the message and the attributes, so that keyword-only arguments survive."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def anew(error: T) -> T:
    """*error* as a new object: what a function raises may be raised elsewhere too, with what another run had so far."""
    own = _rebuilt(type(error), error.args, {**error.__dict__})
    if (notes := getattr(error, "__notes__", None)) is not None:
        own.__notes__ = list(notes)
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own.with_traceback(error.__traceback__)


def _rebuilt(kind: type[T], args: tuple[Any, ...], state: dict[str, Any]) -> T:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Misuse(ArshaiError, ValueError):
    """What the program passed in cannot work; the message says what to pass instead."""


class MissingKey(Misuse):
    """No API key was given and the environment has none."""


class NotAPlan(Misuse):
    """A plan was given as if it were a plain function; the program's mistake, which no tool loop tells a model."""

    ends_run = True


class PauseRefused(Misuse):
    """A paused run that cannot go on here: it has been changed, is another agent's, or a newer version wrote it."""


class BadSchema(Misuse):
    """A type that cannot be described in JSON Schema."""


class Unsupported(Misuse):
    """The model is known not to take what it was to be given; nothing was sent."""


class ProviderError(ArshaiError):
    """The provider, or the way to it, failed.

    *status* is the HTTP status (`None` without one), *code* the provider's own code, *retry_after* the seconds to
    wait that it asked for, *request_id* what its support wants to know, *should_retry* whether it said that trying
    again makes sense (`None`: it did not say), *details* the whole error as it came, as JSON without keys, for what
    the message does not tell, such as what a filter found (`None`: it was no JSON, or too large to keep).

    *retry_at* is when it asked to be asked again, in seconds since the epoch, where it gave a date and no time of its
    own to count from; who tries again makes *retry_after* of it.
    """

    retry_at: float | None = None

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str = "",
        retry_after: float | None = None,
        request_id: str = "",
        should_retry: bool | None = None,
        details: Any = None,
        partial: Any = None,
    ) -> None:
        super().__init__(message, partial=partial)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.request_id = request_id
        self.should_retry = should_retry
        self.details = details


class Unreachable(ProviderError):
    """There is no connection to the provider, or it broke; *sent* is false where none came about: nothing was sent."""

    sent = True


class TimedOut(ProviderError, TimeoutError):
    """The provider was silent for longer than `timeout=`, or the call took longer than `deadline=`.

    Of a `resilience.deadline` that has passed, *seconds* is how long it was, and *doing* what there was no time for;
    *in_line* says that the call was still waiting for its turn under a limit of your own, and nobody had been asked.
    """

    seconds: float | None = None
    doing = ""
    in_line = False


class BadRequest(ProviderError):
    """The provider refuses the request as it is (400, 409, 413, 422)."""


class ContentTooLong(BadRequest):
    """The prompt is longer than the model takes."""


class Unauthorized(ProviderError):
    """The key is missing, wrong, or not allowed to do this (401, 403)."""


class NotFound(ProviderError):
    """There is no such model or address (404)."""


class RateLimited(ProviderError):
    """Too many requests (429); come back after *retry_after* seconds."""


class OverLimit(RateLimited):
    """A quota of your own refused the call before anything was sent: *limit* names which of its limits."""

    def __init__(self, message: str = "", *, limit: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit


class ServerFailed(ProviderError):
    """The provider broke or is overloaded (5xx, 529)."""


class BadReply(ProviderError):
    """What came back is not an answer: HTML, nothing, cut or malformed JSON, too large or too deep."""


class StreamIncomplete(ProviderError):
    """The stream ended before the provider said that the reply is complete; *partial* holds what came."""


class BadAnswer(ArshaiError):
    """The model's answer does not fit the type asked for: *text* is the answer, *path* leads to the misfit."""

    def __init__(self, message: str = "", *, text: str = "", path: str = "", partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.text = text
        self.path = path


class NoRoute(ArshaiError):
    """Whoever was to choose an agent made a *choice* that leads to none: no such name, or not sure enough."""

    def __init__(self, message: str = "", *, choice: Any = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.choice = choice


class Exhausted(ArshaiError):
    """The run used up its rounds, calls, tokens or money; passing `partial.messages` again goes on.

    *bound* is the argument that ended it: `max_rounds`, `max_tool_calls`, `max_total_tokens`, `max_cost` or
    `max_handoffs`.
    """

    def __init__(self, message: str = "", *, bound: str = "", partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.bound = bound


class GuardTripped(ArshaiError):
    """A check of a guard found something: *reason* says what, *check* which one, *side* is `before` or `after`.

    After an answer, *partial* is what was answered, and nobody was told.
    """

    def __init__(
        self, message: str = "", *, check: str = "", side: str = "", reason: str = "", partial: Any = None
    ) -> None:
        super().__init__(message, partial=partial)
        self.check = check
        self.side = side
        self.reason = reason


class ApprovalNeeded(ArshaiError):
    """A run waits for a person: *paused*, a record with JSON, is what goes on once its calls have been decided."""

    ends_run = True

    def __init__(self, message: str = "", *, paused: Any = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.paused = paused


class CircuitOpen(ArshaiError):
    """What is asked has failed too often, so it is left alone; it is tried again in *retry_after* seconds.

    `None`: somebody is trying it right now.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.retry_after = retry_after


class StoreUnreachable(ArshaiError):
    """The store in which processes share limits, circuits or memories cannot be asked; nobody else was asked."""


class StoreRefused(ArshaiError):
    """The store in which processes share does not let us: a wrong password, a permission that is not there."""


class StoreFull(ArshaiError):
    """The store in which processes share has no room, as a Redis at its `maxmemory`; nothing was written."""


class RestartRefused(ArshaiError):
    """Whoever hears a reply as it comes raises this at `Notice("restarted", …)` when what it heard has had effects.

    It stays between those two: what then ends the call is the error for which the reply was to begin anew.
    """


class OverBudget(ArshaiError):
    """A budget refused a call before it was made: *wanted* is its worst case, *left* what there was for it.

    Both are `arshai_kit.cost.Spend`; *wanted* is `None` where nobody knows how much the call may need.
    """

    ends_run = True

    def __init__(self, message: str = "", *, wanted: Any = None, left: Any = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.wanted = wanted
        self.left = left


class Conflict(ArshaiError):
    """What a memory keeps has changed since it was read, and is of *version* now; nothing was written: read again."""

    def __init__(self, message: str = "", *, version: int | None = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.version = version


class TurnTaken(ArshaiError):
    """A turn of this conversation is under way, and this one was not to wait; come back in *retry_after* seconds."""

    def __init__(self, message: str = "", *, retry_after: float | None = None, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.retry_after = retry_after


class TooLarge(ArshaiError):
    """What was to be kept takes *size* bytes, and the memory is set to *limit*; nothing was written."""

    def __init__(self, message: str = "", *, size: int = 0, limit: int = 0, partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.size = size
        self.limit = limit


class BadDocument(ArshaiError):
    """The document at *source* cannot be read; others go on."""

    def __init__(self, message: str = "", *, source: str = "", partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.source = source


class DocumentTooLarge(BadDocument):
    """The document is more, or would unfold to more, than its limits allow."""


class OtherVectors(ArshaiError):
    """An index holds vectors of another model, or of another size; nothing was written."""


class BadRecord(ArshaiError):
    """What a memory keeps under *key* cannot be read; it is left as it is."""

    def __init__(self, message: str = "", *, key: str = "", partial: Any = None) -> None:
        super().__init__(message, partial=partial)
        self.key = key


class ForeignFormat(BadRecord):
    """What a memory keeps was written by a newer version of this package, or by another program."""


class RunError(ArshaiError):
    """Whatever surrounds the run (a script, a recording) cannot go on with it."""

    ends_run = True


class Diverged(RunError):
    """A replayed run asked for something else than the recording holds; the message says where."""


class ScriptError(RunError):
    """A scripted run asked for more answers than there are, or left some over."""


def need(package: str, extra: str) -> NoReturn:
    """Refuse for want of an optional *package*, naming the *extra* that brings it.

    >>> need("cyllama", "local")
    Traceback (most recent call last):
        ...
    ImportError: cyllama is not installed: pip install 'arshai-kit[local]'
    """
    raise ImportError(f"{package} is not installed: pip install 'arshai-kit[{extra}]'")


def too_large(limit: int) -> BadReply:
    """The error for a body of more than *limit* bytes."""
    return BadReply(f"the reply has more than {limit:,} bytes; max_body= of the model sets the limit")
