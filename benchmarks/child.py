"""One measurement in a process of its own: `child.py WHAT WHO URL COUNT` prints figures; run as a script, not with -m.

What the process imports is part of what is measured, so nothing is imported before its time; and what a development
environment has but a base install has not (httpx imports click and rich if they are there, httpcore trio) is hidden.
"""

from __future__ import annotations

import sys
import time
from typing import Any

ABSENT = ("click", "rich", "pygments", "trio")


def cpu(began: int) -> int:
    """Nanoseconds of CPU since *began*."""
    return time.process_time_ns() - began


def importing(who: str, _url: str, _count: int) -> dict[str, float]:
    """Import one package."""
    began = time.process_time_ns()
    if who in ("hand", "control"):
        import httpx  # noqa: F401  # the import is the work
    else:
        import arshai_kit  # noqa: F401  # the import is the work
    return {"cpu": cpu(began)}


def first_call(who: str, url: str, _count: int) -> dict[str, float]:
    """From nothing to the first answer."""
    began = time.process_time_ns()
    if who in ("hand", "control"):
        import json

        import httpx

        client = httpx.Client(headers={"authorization": "Bearer k"}, timeout=httpx.Timeout(300, connect=10))
        body = {"model": "bench-1", "messages": [{"role": "user", "content": "Hello"}]}
        reply = client.post(url, json=body)
        reply.raise_for_status()
        text = json.loads(reply.content)["choices"][0]["message"]["content"]
    else:
        import arshai_kit

        model = arshai_kit.openai_compatible("bench-1", base_url=url.removesuffix("/chat/completions"), api_key="k")
        text = arshai_kit.complete(model, "Hello").text
    taken = cpu(began)
    return {"cpu": taken, "errors": int(not text.startswith("The Karun"))}


def concurrent(who: str, url: str, count: int) -> dict[str, float]:
    """Many streamed conversations on one event loop."""
    import asyncio

    if who in ("hand", "control"):
        from benchmarks import byhand

        return watched(lambda n: asyncio.run(byhand.conversations(url, n)), count)
    from benchmarks import kit

    if who == "kit":
        return watched(lambda n: asyncio.run(kit.conversations(url, n)), count)
    with kit.one_layer():
        return watched(lambda n: asyncio.run(kit.conversations(url, n)), count)


def threads(who: str, url: str, count: int) -> dict[str, float]:
    """Many streamed conversations, a thread each."""
    if who in ("hand", "control"):
        from benchmarks import byhand

        return watched(lambda n: byhand.conversations_in_threads(url, n), count)
    from benchmarks import kit

    return watched(lambda n: kit.conversations_in_threads(url, n, layered=who == "layer"), count)


def watched(talk: Any, count: int) -> dict[str, float]:
    """What *count* conversations cost, after a first one that brings in what is imported late."""
    (expected,) = talk(1)
    began = time.process_time_ns()
    texts = talk(count)
    taken = cpu(began)
    wrong = [text for text in texts if text != expected or not isinstance(text, str)]
    for each in wrong[:3]:
        print(repr(each)[:200], file=sys.stderr)
    return {"cpu": taken, "rss": peak_memory(), "errors": len(wrong)}


def peak_memory() -> int:
    """The most memory this process has held, in bytes.

    `ru_maxrss` would count what the parent held, too, when the parent started us by `vfork`.
    """
    try:
        with open("/proc/self/status") as status:  # noqa: PTH123  # pathlib would be memory of its own
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    _, what, who, url, count, root = sys.argv
    sys.path[0] = root
    sys.modules.update(dict.fromkeys(ABSENT))  # type: ignore[arg-type]  # None in sys.modules is an ImportError
    figures = globals()[what](who, url, int(count))
    print(" ".join(f"{name}={value}" for name, value in figures.items()))
