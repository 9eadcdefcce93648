"""The page that tells how the recordings are read: `python -m tests.wire.page FOLDER WHERE` writes it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import TypeAlias

from benchmarks import table

from tests.wire import test_embeddings, test_gemini, test_loops, test_recordings, test_responses, test_sockets
from tests.wire.served import Talk

__all__ = ["PAGE", "Table", "clients", "conversations", "exceptions", "loops", "recorded", "text", "why"]

PAGE = Path(__file__).parents[2] / "docs" / "evidence" / "recordings.md"
Table: TypeAlias = Callable[[], str]
DIALECTS = {
    "chat": "Chat Completions",
    "responses": "Responses",
    "generateContent": "generateContent",
    "streamGenerateContent": "generateContent, streamed",
    "countTokens": "count of tokens",
    **dict.fromkeys(test_embeddings.OPERATIONS, "embeddings"),
    "transcription": "transcription",
}
"""The column that each operation is counted in."""

TEXT = """# What the recordings prove

`pytest tests/wire --wire FOLDER`, {where}: every test passed.

FOLDER holds {talks} conversations, {exchanges} exchanges, each with the result that a correct parser must reach:
{captured} are recordings of live traffic that other projects made, {fixtures} replies that they keep for
their tests, mostly captured. Asked were
{vendors}.

`python -m tests.wire.page FOLDER WHERE` writes this page from them and from the tables of the tests; another test sees
to it that it holds what those tables hold. {kept} of the conversations live in `tests/wire/data`, with where they come
from, and are tested everywhere.

- `test_recordings`, `test_responses`, `test_gemini`: bytes to records, without sockets. All fields of the given result
  that our records carry agree, streams cut in three random ways; a field that nobody knows changes nothing; a stream
  gives what its body gives as a whole; what goes back carries what the recorded client sent back.
- `test_embeddings`: the same for vectors, over a socket; also what we send.
- `test_sockets`: every exchange by the public functions, over a real socket, streams in three kinds of fragments; also
  where the request went.
- `test_loops`: whole loops of tools run again by `run_tools` and `stream`; what we send after each result is what was
  sent then.

## Exchanges

{recorded}

A transcription is the one thing that no function here asks for; {asked} exchanges are left, and all are read as they
must be, but for what follows.

## Exceptions

Where our result is not the given one, and why ours is right. A vendor stands for all its recordings, an id for one.

{exceptions}

## What goes back

These recorded clients did not send back what they had been given, so that no correct program would send what they
sent. What went back is not compared there; all else is.

{clients}

## Loops

Run again to their end, request by request; calls get what they were answered in the recording.

{loops}

Behind other exchanges with calls the recording goes on with no loop; why, and how often:

{why}
"""


def recorded(talks: Sequence[Talk]) -> str:
    """How many exchanges there are, by who was asked and in which dialect."""
    counts: dict[str, Counter[str]] = {}
    for talk in talks:
        count = counts.setdefault(talk["provider"], Counter())
        count["conversations"] += 1
        for exchange in talk["exchanges"]:
            count[DIALECTS[exchange["operation"]]] += 1
    total = sum(counts.values(), Counter[str]())
    columns = ["conversations", *dict.fromkeys(DIALECTS.values())]
    rows = [[who, *[str(count[each] or "") for each in columns]] for who, count in sorted(counts.items())]
    return table.markdown(["provider", *columns], [*rows, ["all", *[str(total[each]) for each in columns]]])


def exceptions() -> str:
    """Where we differ, and why."""
    told = {**test_recordings.EXCEPTIONS, **test_responses.EXCEPTIONS, **test_gemini.EXCEPTIONS}
    rows = [[f"`{where}`", f"`{name}`", why] for (name, where), why in told.items()]
    rows += [["`perplexity`", f"`{name}`", why] for name, why in test_embeddings.INT8.items()]
    return table.markdown(["recording", "field", "why ours is right"], rows)


def clients() -> str:
    """The conversations whose clients sent something else than they got."""
    told = {
        **test_recordings.FORGETFUL,
        **test_responses.REWRITTEN,
        **test_gemini.EDITED,
        **test_loops.REWORDED,
    }
    return table.markdown(["recording", "what the client did"], [[f"`{name}`", why] for name, why in told.items()])


def loops() -> str:
    """The loops that are run again."""
    ran = test_loops.RAN
    names = [name.removesuffix(" loops") for name in ran if name.endswith(" loops")]
    counts = [(ran[f"{name} loops"], ran[f"{name} requests"]) for name in names]
    rows = zip([*names, "all"], [*counts, tuple(map(sum, zip(*counts, strict=True)))], strict=True)
    return table.markdown(["operation", "loops", "requests compared"], [[name, *map(str, each)] for name, each in rows])


def why() -> str:
    """Why no loop goes on, each with how often."""
    return "\n".join(f"- {reason}: {count}" for reason, count in test_loops.WHY.items())


def text(talks: Sequence[Talk], where: str) -> str:
    """The whole page."""
    kinds = Counter(talk["kind"] for talk in talks)
    exchanges = [exchange for talk in talks for exchange in talk["exchanges"]]
    return TEXT.format(
        where=where,
        talks=len(talks),
        exchanges=f"{len(exchanges):,}",
        captured=kinds["recorded"],
        fixtures=kinds["fixture"],
        vendors=fill(", ".join(sorted({talk["vendor"] or talk["provider"] for talk in talks})), 119),
        kept=len(list(test_sockets.HERE.glob("*.json"))),
        recorded=recorded(talks),
        asked=f"{sum(each['operation'] != 'transcription' for each in exchanges):,}",
        exceptions=exceptions(),
        clients=clients(),
        loops=loops(),
        why=why(),
    )


def conversations(folder: Path) -> Iterator[Talk]:
    """All that *folder* holds."""
    return (json.loads(path.read_text("utf-8")) for path in sorted((folder / "data").rglob("*.json")))


if __name__ == "__main__":
    _, folder, where = sys.argv
    PAGE.write_text(text(list(conversations(Path(folder))), where), "utf-8")
