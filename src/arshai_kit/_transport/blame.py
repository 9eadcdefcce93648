"""Other people's exceptions, told in ours: no caller ever sees one of httpcore, httpx, ssl or a socket.

Classes are known by their names, so that httpx, its fork httpx2 and httpcore are one, and none need be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from arshai_kit.errors import ArshaiError, BadReply, Misuse, TimedOut, Unreachable

if TYPE_CHECKING:
    from arshai_kit._transport.exchange import Exchange

__all__ = ["blame", "tls_failed", "unconnected"]

_LIBRARIES = {"httpcore", "httpx", "httpcore2", "httpx2", "h11", "h2", "socksio", "anyio", "trio", "ssl"}


def blame(error: Exception, exchange: Exchange) -> NoReturn:
    """Raise what *error* means to the caller: itself when it is ours, or a mistake in the user's own code."""
    told = _told(error, exchange)
    if told is error and not isinstance(error, ArshaiError):
        raise error
    _forget(error)
    if told is error:
        raise error from exchange.cause  # on its way through httpcore it has lost its own
    if isinstance(told, Misuse):
        raise told from None  # h11 quotes the header that it refuses, which may be the key: its words go nowhere
    raise told from error


def _told(error: Exception, exchange: Exchange) -> Exception:
    host = exchange.host
    if exchange.broken:
        return Unreachable(f"the exchange with {host} was broken off")
    if isinstance(error, ArshaiError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TimeoutException" in names:
        return TimedOut(f"{host} gave no sign of life in time ({type(error).__name__})")
    if "ProxyError" in names:
        proxy = exchange.peer if exchange.proxy is not None else f"the proxy (for {host})"
        return Unreachable(f"{proxy} refused: {_said(error)}")
    if "LocalProtocolError" in names:
        return Misuse(f"the request to {host} is not valid HTTP: look at its method and the names of its headers")
    if names & {"InvalidURL", "UnsupportedProtocol"}:
        return Misuse(f"{host} is not an address that HTTP can reach: base_url= must begin with http:// or https://")
    if "DecodingError" in names:
        return BadReply(f"the body that {host} sent cannot be decoded")
    if type(error) is RuntimeError and "closed" in str(error):
        return Misuse("the client given with using(client=…) is closed")
    if isinstance(error, (OSError, UnicodeError)) or type(error).__module__.partition(".")[0] in _LIBRARIES:
        doing = "in the middle of its reply" if exchange.heard else "before it answered"
        return Unreachable(f"the connection to {host} broke {doing}: {_said(error)}")
    return error


def _forget(error: Exception) -> None:
    """Let go of what the libraries had in hand: keys are among it, and some tracebacks show variables."""
    from traceback import clear_frames

    met: list[BaseException] = []
    after: BaseException | None = error
    while after is not None and after not in met:
        clear_frames(after.__traceback__)
        met.append(after)
        after = after.__cause__ or after.__context__


def unconnected(exchange: Exchange, error: Exception) -> Unreachable:
    """No connection came about."""
    exchange.cause = error
    return _not_sent(f"no connection to {exchange.peer}: {_said(error)}")


def tls_failed(exchange: Exchange, error: Exception) -> Unreachable:
    """The connection stands, but not its encryption."""
    exchange.cause, peer = error, exchange.peer
    why = getattr(error, "verify_message", "")
    if why:
        remedy = "SSL_CERT_FILE can name a file with your own authorities"
        return _not_sent(f"the certificate of {peer} is not trusted: {why} ({remedy})")
    return _not_sent(f"no TLS with {peer}: {_said(error)}")


def _not_sent(words: str) -> Unreachable:
    error = Unreachable(words)
    error.sent = False
    return error


def _said(error: Exception) -> str:
    """The words of *error*, or of the first under it that has any."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif isinstance(cause.__cause__, (OSError, BaseExceptionGroup)):
            cause = cause.__cause__
        elif text := (getattr(cause, "strerror", None) or str(cause)):
            return text[:200]
        else:
            cause = cause.__cause__
    return type(error).__name__
