"""What the measurements say, as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import asdict, frozen

from benchmarks.measure import Ratio

SMOKE = "A smoke run: it shows that all this runs, and its figures mean nothing."
UNITS = {"cpu": "CPU", "rss": "memory"}
HEAD = ("work", "ratio (quartiles)", "of the least", "at most", "control", "by hand", "one layer", "verdict")


@frozen
class Line:
    """One figure of one row: what it came to, and whether it may be believed."""

    key: str
    work: str
    ratio: Ratio
    at_most: float
    control: Ratio
    by_hand: str
    layer: Ratio | None = None
    layer_at_most: float | None = None
    counts: bool = True
    pairs: int = 0
    errors: int = 0

    @property
    def verdict(self) -> str:
        """Whether the target is reached; a run whose control is off says nothing.

        >>> near = Ratio(1.0, 0.9, 1.1)
        >>> Line("call", "one call", Ratio(0.8, 0.7, 0.9), 1.0, near, "319 µs").verdict
        'reached'
        >>> Line("call", "one call", Ratio(1.2, 1.1, 1.3), 1.0, near, "319 µs", counts=False).verdict
        'does not count: the control is off'
        """
        if not self.counts:
            return "does not count: the control is off"
        if self.errors:
            return f"{self.errors} errors"
        missed = [name for name, over in (("ratio", self.over), ("layer", self.layer_over)) if over]
        return f"MISSED: {', '.join(missed)}" if missed else "reached"

    @property
    def over(self) -> bool:
        """Whether the work costs more than it may."""
        return self.ratio.median > self.at_most

    @property
    def layer_over(self) -> bool:
        """Whether a layer costs more than it may."""
        return self.layer is not None and self.layer_at_most is not None and self.layer.median > self.layer_at_most

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of `HEAD`."""
        layer = str(self.layer) if self.layer else "-"
        control = f"{self.control.median:.2f}"
        return (
            self.work,
            str(self.ratio),
            f"{self.ratio.least:.2f}",
            f"{self.at_most:g}",
            control,
            self.by_hand,
            layer,
            self.verdict,
        )


def readable(figure: str, amount: float) -> str:
    """*amount* of nanoseconds or bytes.

    >>> readable("cpu", 319_000), readable("cpu", 4.2e9), readable("rss", 50 * 2**20)
    ('319 µs', '4.20 s', '50.0 MB')
    """
    if figure == "rss":
        return f"{amount / 2**20:.1f} MB"
    if amount >= 1e9:
        return f"{amount / 1e9:.2f} s"
    return f"{amount / 1e6:.1f} ms" if amount >= 1e6 else f"{amount / 1e3:.0f} µs"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that reads well both as text and as Markdown.

    >>> print(markdown(["a", "b"], [["long", "c"]]))
    | a    | b |
    | ---- | - |
    | long | c |
    """
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def machine() -> Mapping[str, str]:
    """Where this was measured."""
    packages = ("arshai-kit", "httpx", "httpcore", "h11", "attrs", "cattrs", "orjson")
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "load": ", ".join(f"{load:.1f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown",
        **{package: installed(package) for package in packages},
    }


def installed(package: str) -> str:
    """The version of *package*."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def measured_on(*more: str, packages: Iterable[str] = ()) -> str:
    """When and where this was measured, *more* that there is to say of it, and of which versions of *packages* too."""
    facts = {**machine(), **{package: installed(package) for package in packages}}
    told = "; ".join(f"{name} {value}" for name, value in facts.items())
    return f"{'; '.join([datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC'), *more, told])}."


def publish(text: str, asked: Namespace) -> None:
    """Print *text*, and write it to the file that was *asked* for; of a smoke run, it says so."""
    text = f"{SMOKE}\n\n{text}" if asked.quick else text
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text)


def as_json(lines: Sequence[Line], facts: Mapping[str, str]) -> str:
    """All figures, for other programs."""
    rows: list[dict[str, Any]] = [{**asdict(line), "verdict": line.verdict} for line in lines]
    return json.dumps({"machine": dict(facts), "rows": rows}, indent=2, ensure_ascii=False)
