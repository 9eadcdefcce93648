"""Status 200, and no answer in it: pages, nothing, broken JSON, too much of anything."""

from __future__ import annotations

from arshai_kit.errors import BadReply, StreamIncomplete
from tests.badinput.ways import body
from tests.faults.rows import MIB, Fails, Row
from tests.faults.server import CLOSE, Again

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"

ROWS = (
    Row(
        "a page",
        ((body(b"<!DOCTYPE html><html><title>Log in</title></html>", kind="text/html"),),),
        Fails(BadReply, "an HTML page, 'Log in'"),
    ),
    Row("null", ((body(b"null"),),), Fails(BadReply, "null"), Fails(StreamIncomplete)),
    Row(
        "256 MiB of JSON",
        ((JSON + b'{"x": "', Again(b"x" * MIB, times=256), CLOSE),),
        Fails(BadReply, "max_body="),
        memory=True,
    ),
)
