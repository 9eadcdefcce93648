"""Record the examples again when what they ask has changed: the replies stay, the requests become today's.

python examples/recordings/renew.py
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from json import dumps, loads
from pathlib import Path
from typing import Any

import httpx

from arshai_kit import testing, using

HERE = Path(__file__).parent


def replies(path: Path) -> Iterator[httpx.Response]:
    """What the providers answered, in the order of the recording at *path*."""
    entries = [loads(line) for line in path.read_text("utf-8").splitlines()[1:]]
    for place, entry in enumerate(entries):
        match entry["asks"]["effect"]:
            case "Send":
                yield _reply(entry["answer"], [entry["answer"]])
            case "Open":
                yield _reply(entry["answer"], _read(entries[place + 1 :], entry["run"], entry["answer"]["channel"]))


def _read(entries: list[dict[str, Any]], run: int, channel: int) -> list[dict[str, Any]]:
    asked = {"effect": "Read", "channel": channel}
    return [entry["answer"] for entry in entries if entry["run"] == run and entry["asks"] == asked]


def _reply(head: dict[str, Any], pieces: list[dict[str, Any]]) -> httpx.Response:
    body = [dumps(piece["json"]) if "json" in piece else piece["text"] for piece in pieces]
    return httpx.Response(head["status"], headers=head["headers"], stream=Pieces(body))


class Pieces(httpx.SyncByteStream):
    """A body that comes in the pieces in which it once came."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return (piece.encode() for piece in self._pieces)


def main() -> None:
    """Renew each recording here, by the example of the same name."""
    sys.path.insert(0, str(HERE.parent))
    for path in sorted(HERE.glob("*.jsonl")):
        answers = replies(path)
        client = httpx.Client(transport=httpx.MockTransport(lambda _, answers=answers: next(answers)))
        with client, testing.recorded(path), using(client=client):
            import_module(path.stem).main(api_key="")


if __name__ == "__main__":
    main()
