"""What a row of the table says: what a server does, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen
from tenacity import stop_after_attempt, wait_none

from arshai_kit.retry import Retry
from tests.faults.server import Act, FaultServer, Script
from tests.faults.ways import WAYS, Came, Way

__all__ = ["MIB", "MUCH", "OPTIONS", "Answers", "Expected", "Fails", "Row", "Scene", "soon"]

MIB: Final = 1024 * 1024


def soon(times: int = 2) -> Retry:
    """Try again so many *times*, without a wait of our own."""
    return Retry(stop=stop_after_attempt(times + 1), wait=wait_none())


OPTIONS: Final[Mapping[str, Any]] = {"retry": soon(), "timeout": 5.0, "deadline": 10.0, "max_body": 4 * MIB}
"""How a model is configured where a row does not say: twice again without a wait, and little time."""


TIMES: Final = frozenset({"timeout", "deadline", "connect_timeout"})


MUCH: Final[Mapping[str, Any]] = {"timeout": 30.0, "deadline": 50.0}
"""More time, for rows of so much data that a busy machine takes seconds for it."""


@frozen
class Answers:
    """An answer of this *text*; *requests* is how many the server must have seen, *told* the words of a stream."""

    text: str = "Hello"
    requests: int = 1
    told: str | None = None
    ran: Sequence[str] | None = None


@frozen
class Fails:
    """An *error* that *says* this (a pattern), with this *text* in its `partial` and attributes that *has* names.

    A *text* of `None` is none of its business: a `check` looks at it.
    """

    error: type[BaseException]
    says: str = ""
    text: str | None = ""
    requests: int = 1
    told: str | None = None
    ran: Sequence[str] | None = None
    has: Mapping[str, Any] = field(factory=dict)


Expected: TypeAlias = Answers | Fails
Only: TypeAlias = Literal["", "whole", "stream", "tools", "plain"]


@frozen
class Scene:
    """What a check may look at: both servers, the way, and what came of it."""

    server: FaultServer
    other: FaultServer | None
    way: Way
    came: Came


@frozen
class Row:
    """One fault; the docstring of the package tells what each field is for."""

    name: str
    acts: Sequence[Act]
    expected: Expected
    streamed: Expected | None = None
    only: Only = ""
    options: Mapping[str, Any] = field(factory=dict)
    seconds: float = 60.0
    memory: bool = False
    before: bool = True
    reused: int = 0
    times: int = 1
    greets: Script = ()
    tls: bool = False
    other: Sequence[Act] | None = None
    other_tls: bool = False
    address: Callable[[FaultServer, FaultServer | None], str] | None = None
    environ: Callable[[FaultServer, FaultServer | None], Mapping[str, str]] | None = None
    between: Callable[[FaultServer], None] | None = None
    check: Callable[[Scene], None] | None = None
    tools: Callable[[Came], Sequence[Any]] | None = None
    run: Mapping[str, Any] = field(factory=dict)
    hurried: bool = False
    needs: Sequence[str] = ()
    wrong: str = ""

    def fits(self, way: Way) -> bool:
        """Whether the row makes sense, asked this *way*."""
        match self.only:
            case "whole":
                return not way.streams
            case "stream":
                return way.streams
            case "tools":
                return way.loops
            case "plain":
                return not way.loops
        return True

    @property
    def ways(self) -> Sequence[Way]:
        """Every way in which it makes sense."""
        return [way for way in WAYS if self.fits(way)]

    def expects(self, way: Way) -> Expected:
        """What must come of it, asked this *way*."""
        return self.streamed if way.streams and self.streamed is not None else self.expected

    def times_at(self, pace: float) -> Mapping[str, float]:
        """Those of its options that are less time than a busy machine may need, as they are at this *pace*."""
        return {name: time * pace for name, time in self.options.items() if name in TIMES and time < OPTIONS["timeout"]}

    def configured(self, **more: Any) -> Mapping[str, Any]:
        """The options of its model."""
        return {**OPTIONS, **(MUCH if self.memory else {}), **self.options, **more}
