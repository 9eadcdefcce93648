"""Files, addresses and bytes, in both worlds; what is risky is read by a process that time and memory hold."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from resource import RLIMIT_AS
from typing import Any

import pytest

from arshai_kit.documents import Document, Found, Limits, Unreadable, isolating, load, parse, read, reading, worker
from arshai_kit.documents.isolating import _Child, _Children, isolated
from arshai_kit.documents.wire import asked, packed, packed_error, question, unpacked
from arshai_kit.errors import BadDocument, BadReply, DocumentTooLarge, Misuse, NotFound
from tests.core.worlds import WORLDS, World
from tests.documents.making import docx, paragraph, pdf, pdf_file, stream
from tests.test_fetching import lies, site
from tests.transport.names import publish
from tests.transport.server import serving

everywhere = pytest.mark.parametrize(
    "world", [pytest.param(world, id=world.name) for world in WORLDS if not world.listening]
)
documents = pytest.mark.needs("documents")
HERE = Limits(isolated=False)
TEXT = docx(paragraph("Top", "Heading1") + paragraph("text"))


@pytest.fixture(autouse=True)
def _children() -> Iterator[None]:
    """No process is left over."""
    yield
    isolating._children(os.getpid()).close()


# -- files --


@everywhere
def test_a_document_is_read_in_every_world(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(TEXT)
    for limits in (Limits(), HERE):
        document = world.run(partial(read.plan, tmp_path / "a.docx", limits=limits))
        assert document == parse(TEXT, f"{tmp_path}/a.docx")
        assert world.run(lambda: read.plan(b"# a")).text == "# a"
    with pytest.raises(BadDocument, match="there is no"):
        world.run(lambda: read.plan(tmp_path / "b.docx"))


def test_bytes_have_no_name_but_may_be_given_one() -> None:
    assert read(bytearray(b"a,b\n")).media_type == "text/plain"
    document = read(Found("t.csv", data=b"a,b\n"))
    assert (document.source, document.media_type) == ("t.csv", "text/csv")


def test_a_folder_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    for name, data in {"a.md": b"# a", "b.docx": b"PK\x03\x04", "c.docx": TEXT, "d.bin": b"\0\1" * 9}.items():
        (tmp_path / name).write_bytes(data)
    told: list[Unreadable] = []
    found = load(tmp_path, unreadable=told.append)
    assert next(found).text == "# a"
    assert told == []
    assert [each.text for each in found] == ["# Top\n\ntext"]
    assert [Path(each.source).name for each in told] == ["b.docx", "d.bin"]
    assert all(isinstance(each.error, BadDocument) for each in told)
    with pytest.raises(BadDocument, match=r"d\.bin cannot be read: it is no text"):
        list(load(tmp_path / "d.bin"))


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "pipe", "large"])
def test_what_is_no_file_or_too_large_is_refused_before_it_is_read(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 * 1024**3)  # which takes no room
    with pytest.raises(BadDocument, match=r"is a pipe|is a device|2,147,483,648 bytes .* size= of Limits"):
        read(tmp_path / path)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("first")
    times = [2]
    real = reading._contents

    def contents(file: int, size: int, most: int) -> bytes:
        data = real(file, size, most)
        if times[0] > 0:
            times[0] -= 1
            path.write_text(f"{path.read_text()} and {times[0]}")
        return data

    monkeypatch.setattr(reading, "_contents", contents)
    assert read(path).text == "first and 1 and 0"
    times[0] = 9
    with pytest.raises(BadDocument, match=r"a\.txt changes while it is read"):
        read(path)


def test_a_file_that_grows_over_its_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("12345")
    monkeypatch.setattr(reading, "_contents", lambda file, size, most: b"x" * (most + 1))
    with pytest.raises(DocumentTooLarge, match="has 7 bytes or more"):
        read(path, limits=Limits(size=6))


# -- addresses --


@pytest.fixture
def _here_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    publish(monkeypatch, "127.0.0.1")


@everywhere
@pytest.mark.usefixtures("_here_is_public")
def test_what_lies_at_an_address_is_fetched_and_read(world: World) -> None:
    pages = {
        "/a": lies(b"some *text*", "text/markdown; charset=utf-8"),
        "/large": lies(b"x" * 2000, "text/plain"),
        "/cat": lies(b"\x89PNG\r\n\x1a\n" + bytes(9), "image/png"),
    }
    with serving(site(pages)) as server:
        document = world.run(lambda: read.plan(f"{server.url}/a?key=1"))
        assert (document.text, document.media_type) == ("some *text*", "text/markdown")
        assert document.source == f"{server.url}/a?key=1"
        assert [each.text for each in load(f"{server.url}/a")] == ["some *text*"]
        for path, error in {"/large": BadReply, "/cat": BadDocument, "/none": NotFound}.items():
            with pytest.raises(error):
                world.run(partial(read.plan, f"{server.url}{path}", limits=Limits(size=1000)))


@everywhere
def test_nothing_is_fetched_from_here(world: World) -> None:
    with serving(site({"/a": lies(b"secret")})) as server, pytest.raises(Misuse):
        world.run(lambda: read.plan(f"{server.url}/a"))
    assert server.heads == []


# -- without the extra --


@pytest.mark.parametrize(
    ("module", "data", "package"),
    [("pypdfium2", pdf([["a line"]]), "pypdfium2"), ("selectolax.lexbor", b"<html>a</html>", "selectolax")],
)
def test_what_is_not_installed_is_named(
    module: str, data: bytes, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{package} is not installed: pip install 'arshai-kit\[documents\]'"):
        read(data, limits=HERE)
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "b.txt").write_text("goes on")
    told: list[Unreadable] = []
    assert [each.text for each in load(tmp_path, limits=HERE, unreadable=told.append)] == ["goes on"]
    assert [type(each.error) for each in told] == [ImportError]


def test_encoding_and_language_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    monkeypatch.setitem(sys.modules, "py3langid", None)
    document = parse("Die Flüsse fließen in das Meer, und sie sind alle lang.".encode("cp1252"))
    assert (document.text[:10], document.language) == ("Die Flüsse", "")
    assert "taken for WINDOWS-1252: charset-normalizer" in document.notices[0]


# -- the process that reads --


def endless(depth: int = 14) -> bytes:
    """A PDF of a few kilobytes that paints for ever: each of its forms paints ten of the next."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>",
        4: stream(b"/X Do " * 10),
    }
    for number in range(5, 5 + depth):
        inner = f"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X {number + 1} 0 R>>>>"
        objects[number] = stream(b"/X Do " * 10, more=inner)
    objects[5 + depth] = stream(b" ", more="/Type/XObject/Subtype/Form/BBox[0 0 9 9]")
    return pdf_file(objects)


def swelling(megabytes: int) -> bytes:
    """A PDF with a page that unfolds to so many megabytes."""
    import zlib

    pack = zlib.compressobj(9)
    data = b"".join([*(pack.compress(b" " * 1_000_000) for _ in range(megabytes)), pack.flush()])
    return pdf_file(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
            4: f"<</Length {len(data)}/Filter/FlateDecode>>stream\n".encode() + data + b"\nendstream",
        }
    )


@documents
@pytest.mark.parametrize("data", [endless(), b"<html>" + b"<div>" * 1_000_000], ids=["pdf", "html"])
def test_a_document_that_would_take_for_ever_is_given_up_and_the_next_is_read(data: bytes) -> None:
    with pytest.raises(DocumentTooLarge, match=r"took more than 1 seconds: seconds= of Limits"):
        read(data, limits=Limits(seconds=1))
    assert read(pdf([["a line"]])).text == "a line"


@documents
@pytest.mark.parametrize("data", [swelling(600), docx(paragraph("word " * 40_000_000))], ids=["pdf", "docx"])
def test_a_document_that_would_take_all_memory_is_given_up(data: bytes) -> None:
    with pytest.raises(DocumentTooLarge, match="more than 100,000,000 bytes of memory"):
        read(data, limits=Limits(memory=100_000_000, text=10**9))
    assert read(TEXT).text == "# Top\n\ntext"


@documents
def test_the_process_is_used_again_and_knows_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    children = isolating._children(os.getpid())
    assert [read(each).text for each in (TEXT, pdf([["a line"]]), b"<html>a</html>")] == [
        "# Top\n\ntext",
        "a line",
        "a",
    ]
    (child,) = children.idle
    environ = Path(f"/proc/{child.process.pid}/environ")
    if environ.exists():
        assert b"secret" not in environ.read_bytes()
    with pytest.raises(BadDocument, match="is damaged"):
        read(b"%PDF-1.7 no more")
    assert children.idle == [child]
    with ThreadPoolExecutor(3) as threads:
        assert {each.text for each in threads.map(read, [TEXT] * 9)} == {"# Top\n\ntext"}
    assert 1 <= len(children.idle) <= 3


def test_a_process_that_has_ended_while_it_waited_is_replaced() -> None:
    assert read(TEXT).text
    (child,) = isolating._children(os.getpid()).idle
    child.place.shutdown(socket.SHUT_WR)  # it hears that nobody asks any more, and ends
    child.process.wait(30)
    assert read(TEXT).text == "# Top\n\ntext"


@pytest.mark.parametrize(
    ("number", "error", "why"),
    [
        (signal.SIGKILL, DocumentTooLarge, "ended by signal 9"),
        (signal.SIGSEGV, BadDocument, "ended with -11"),
    ],
)
def test_a_process_that_is_ended_is_told(number: int, error: type[Exception], why: str) -> None:
    assert read(TEXT).text
    (child,) = isolating._children(os.getpid()).idle
    os.kill(child.process.pid, number)
    child.process.wait(30)
    with pytest.raises(error, match=why):
        read(TEXT)


def test_one_that_has_no_time_left_is_ended() -> None:
    child = _Child()
    with pytest.raises(DocumentTooLarge, match="took more than"):
        child.asked(b"", b"", Limits(seconds=1e-9))
    child.end()


def test_what_cannot_be_started_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(Misuse, match=r"No such file.*Limits\(isolated=False\)"):
        read(TEXT)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(Misuse, match=r"ended at once, with 1.*Limits\(isolated=False\)"):
        read(TEXT)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(Misuse, match=r"no Python.*Limits\(isolated=False\)"):
        read(TEXT)


def test_a_process_that_is_silent_is_ended() -> None:
    children = _Children()
    child = children.take()
    child.process.send_signal(signal.SIGSTOP)
    with pytest.raises(DocumentTooLarge, match=r"more than 0\.01 seconds"):
        child.asked(b"", bytes(10_000_000), Limits(seconds=0.01))
    child.end()
    assert child.process.returncode == -signal.SIGKILL
    children.give(_Child())
    children.close()


def test_at_exit_nothing_is_left(tmp_path: Path) -> None:
    """A process that ends takes with it what reads for it, and says nothing."""
    code = (
        "import os, sys; from arshai_kit.documents import isolating, read; read(sys.stdin.buffer.read());"
        "print(isolating._children(os.getpid()).idle[0].process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=TEXT, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


# -- the worker, in this process --


@pytest.fixture
def _no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is to live on."""
    monkeypatch.setattr(worker, "_limit", lambda kind, value: None)


def replies(*messages: bytes, before: int = 2**60) -> bytes:
    """What the worker answers to *messages*, and then nothing more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in messages:
            ours.sendall(b"%12d" % len(message) + message)
        ours.shutdown(socket.SHUT_WR)
        done = threading.Thread(target=worker.answers, args=(theirs, before))
        done.start()
        done.join(30)
        theirs.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: ours.recv(65536), b""))


@pytest.mark.usefixtures("_no_bounds")
def test_the_worker_answers_until_nobody_asks() -> None:
    kind = parse(TEXT).media_type
    reply = replies(question(kind, Limits()), TEXT, question(kind, Limits()), b"PK")
    size = int(reply[:12])
    assert reply[12:13] == b"0"
    assert unpacked(reply[13 : 13 + size]).text == "# Top\n\ntext"
    with pytest.raises(BadDocument, match="is damaged"):
        unpacked(reply[13 + size + 13 :])
    assert replies(question(kind, Limits()), TEXT, question(kind, Limits()), TEXT, before=-(2**60))[12:13] == b"1"
    assert replies(b"") == b""


@pytest.mark.usefixtures("_no_bounds")
def test_the_worker_ends_when_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    try:
        ours, theirs = socket.socketpair()
        with ours:
            kind = question(parse(TEXT).media_type, Limits())
            for message in (kind, TEXT):
                ours.sendall(b"%12d" % len(message) + message)
            ours.shutdown(socket.SHUT_WR)
            worker.main(theirs.detach())
            assert unpacked(ours.recv(65536)[13:]).text == "# Top\n\ntext"
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_worker_ends_when_nobody_asks_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "IDLE", 0.001)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.answers(theirs, 0)


def test_its_time_and_memory_are_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda kind, value: held.append((kind, value)))
    monkeypatch.setattr("resource.getrlimit", lambda kind: (-1, 5 if kind == RLIMIT_AS else -1))
    worker._bound(Limits(memory=10, seconds=7), 100)
    assert held[0] == (RLIMIT_AS, (5, 5))
    assert held[1][1][0] >= 9
    monkeypatch.setattr("os.open", lambda *_: Path("/no/such/file").stat())
    assert worker._space() == 512 * 1024 * 1024


@pytest.mark.usefixtures("_no_bounds")
@pytest.mark.parametrize("error", [MemoryError(), ImportError("needs x"), BadDocument("it is bad")])
def test_the_worker_tells_what_went_wrong(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def extracted(*_: Any) -> Document:
        raise error

    monkeypatch.setattr(worker, "extracted", extracted)
    reply, worn_out = worker._answer(question("x", Limits()), bytearray(), 0)
    assert worn_out == isinstance(error, MemoryError)
    with pytest.raises(
        DocumentTooLarge if worn_out else type(error), match="memory= of Limits" if worn_out else str(error)
    ):
        unpacked(reply)


def test_what_goes_between_processes_comes_back_as_it_was() -> None:
    document = parse(b"---\ntags: [a, b]\n---\n# a\n\nb\n\f- c", "a.md")
    assert unpacked(packed(document)).blocks == document.blocks
    assert unpacked(packed(document)).metadata == {"tags": ("a", "b")}
    limits = Limits(pages=3, seconds=2.5)
    assert asked(question("k", limits)) == ("k", Limits(pages=3, seconds=2.5, isolated=False))
    with pytest.raises(BadDocument, match=r"a \? b"):
        unpacked(packed_error(ValueError("a \ud800 b")))
    assert pickle.loads(pickle.dumps(read)) is read


def test_what_a_reader_stumbles_over_is_a_damaged_document(monkeypatch: pytest.MonkeyPatch) -> None:
    from arshai_kit.documents import parsing

    def stumbles(data: bytes, limits: Limits) -> Document:
        raise KeyError("x")

    monkeypatch.setattr(parsing, "_READERS", {"k": stumbles})
    with pytest.raises(BadDocument, match="it is damaged: KeyError"):
        parsing.extracted("k", b"", Limits())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_processes_of_its_own() -> None:
    assert read(TEXT).text
    children = isolating._children(os.getpid())
    (child,) = children.idle
    place, theirs = socket.socketpair()
    with place, theirs:
        if not (fork := os.fork()):
            try:
                theirs.sendall(read(TEXT).text.encode())
                isolating._children(os.getpid()).close()
                children.close()  # as when it ends
            finally:
                os._exit(0)
        os.waitpid(fork, 0)
        assert place.recv(100) == b"# Top\n\ntext"
    assert isolated(parse(TEXT).media_type, TEXT, Limits()).text == "# Top\n\ntext"
    assert children.idle == [child]
