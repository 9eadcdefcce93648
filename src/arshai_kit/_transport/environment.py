"""What the process's environment says about the way out: whom to trust, and which proxy to take."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    import ssl

__all__ = ["ProxyAddress", "proxy_for", "tls_context"]


@cache
def tls_context() -> ssl.SSLContext:
    """The process's one TLS context; making one costs 20 ms, so it waits for the first https address.

    A forked child may keep it: it holds certificates and settings, and no connection.
    """
    import ssl

    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl's own errors are among them
            why = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
            raise Misuse(f"SSL_CERT_FILE is {file!r}, which {why}") from error
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


@frozen
class ProxyAddress:
    """Where a proxy is, and who we are to it."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Where it is, as addresses and messages say it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(scheme: str, host: str, port: int) -> ProxyAddress | None:
    """The proxy that the environment wants for an address, `None` for the direct way."""
    proxies = _proxies()
    if not proxies:
        return None
    excepted = [name.strip().lower() for name in proxies.get("no", "").split(",")]
    if any(_spares(name, scheme, host, port) for name in excepted if name):
        return None
    address = proxies.get(scheme) or proxies.get("all")
    return _parsed(address if "://" in address else f"http://{address}") if address else None


def _proxies() -> dict[str, str]:
    # The module is large, and asks the system only where there is something to ask beside these variables.
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies

    return getproxies()


def _spares(pattern: str, scheme: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means an address.

    >>> [_spares(each, "https", "api.a.com", 443) for each in ("*", "a.com", ".a.com", "api.a.com:443", "b.com")]
    [True, True, True, True, False]
    >>> _spares("a.com", "https", "aa.com", 443), _spares(".a.com", "https", "a.com", 443)
    (False, False)
    >>> _spares("10.0.0.0/8", "http", "10.1.2.3", 80), _spares("http://a.com", "https", "a.com", 443)
    (True, False)
    """
    if pattern == "*":
        return True
    wanted, _, rest = pattern.rpartition("://")
    if wanted not in ("", "all", scheme):
        return False
    name, number = _split(rest)
    if number and int(number) != port:
        return False
    if (network := _network(name)) is not None:
        return _network(host) is not None and ip_address(host) in network
    if wanted or name == "localhost":
        return host == name
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split(address: str) -> tuple[str, str]:
    """A name and a port, if there is one.

    >>> _split("a.com:80"), _split("[::1]:80"), _split("::1"), _split("a.com")
    (('a.com', '80'), ('::1', '80'), ('::1', ''), ('a.com', ''))
    """
    if found := re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*):(\d+)", address):
        return found[1] or found[3] or "", found[2] or found[4] or ""
    return address, ""


def _network(name: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(name, strict=False)
    except ValueError:
        return None


def _parsed(address: str) -> ProxyAddress:
    """A proxy's address, taken apart.

    >>> _parsed("http://me:pa%20ss@proxy.lan:3128")
    ProxyAddress(scheme='http', host='proxy.lan', port=3128, user='me')
    """
    defaults = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in defaults or not host:
        raise Misuse("the environment's proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) is no http, https or socks5 address")
    return ProxyAddress(
        parts.scheme, host, port or defaults[parts.scheme], unquote(parts.username or ""), unquote(parts.password or "")
    )
