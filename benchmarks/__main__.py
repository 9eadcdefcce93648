"""Measure and print the table: `python -m benchmarks [--quick] [--rows call,chunk] [--json FILE] [--install]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import install, server
from benchmarks.contest import CONTROL, HAND, KIT, LAYER, Row, Site
from benchmarks.measure import Figures, counts, median, ratio, taken, total
from benchmarks.rows import byte_code, chosen
from benchmarks.table import HEAD, UNITS, Line, as_json, machine, markdown, measured_on, publish, readable

Rounds = Sequence[Mapping[str, Figures]]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of samples a figure (15)")
    parser.add_argument("--tries", type=int, default=3, help="repeat a row whose control is off so often (3)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--install", action="store_true", help="measure a base install in a fresh environment, too")
    return parser.parse_args(given)


def measured(row: Row, site: Site, pairs: int, tries: int) -> tuple[Line, ...]:
    """The lines of *row*; a run whose control is off is done again, *tries* times at most."""
    for left in reversed(range(tries)):
        with row.contenders(site) as samplers:
            rounds = taken(samplers, pairs)
        lines = tuple(told(row, rounds))
        if all(line.counts for line in lines) or not left:
            return lines
        print(f"  {row.key}: the control is off ({lines[0].control}), once more", file=sys.stderr)
    return ()


def told(row: Row, rounds: Rounds) -> Iterator[Line]:
    """One line for each figure that has a unit."""
    contenders = tuple(name for name in rounds[0] if name in (KIT, LAYER))
    errors = round(sum(total(rounds, name, "errors") for name in contenders))
    for figure, limit in row.limits.items():
        if figure not in UNITS:
            continue
        control = ratio(rounds, CONTROL, HAND, figure)
        yield Line(
            row.key,
            f"{row.work}: {UNITS[figure]}" if len(row.limits) > 1 else row.work,
            ratio(rounds, KIT, HAND, figure),
            limit,
            control,
            readable(figure, median(rounds, HAND, figure)),
            ratio(rounds, LAYER, KIT, figure) if LAYER in contenders else None,
            row.layered,
            counts(control),
            len(rounds),
            errors,
        )


def report(lines: Sequence[Line]) -> str:
    """The table, and where it was measured."""
    return f"{markdown(HEAD, (line.cells() for line in lines))}\n\n{measured_on()}\n"


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    asked = arguments(given)
    pairs, tries = (2, 1) if asked.quick else (max(2, asked.pairs), max(1, asked.tries))
    lines: list[Line] = []
    with server.running() as address, byte_code() as environment:
        for row in chosen(asked.rows):
            print(f"{row.work} …", file=sys.stderr, flush=True)
            lines += measured(row, Site(address, environment, quick=asked.quick), pairs, tries)
    text = report(lines)
    if asked.install:
        text += f"\n{install.told(install.measured())}\n"
    publish(text, asked)
    if asked.json:
        asked.json.write_text(as_json(lines, machine()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
