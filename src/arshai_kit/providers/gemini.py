"""Google's Gemini: the Gemini API with a key, or Vertex AI with a project and whatever Google takes for signing in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final, Unpack

from arshai_kit._json import dumps, loads
from arshai_kit.effects import Secret
from arshai_kit.errors import MissingKey, Misuse, ServerFailed, Unauthorized, Unreachable, need
from arshai_kit.models import Capabilities, Dialect, Endpoint, Token
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs, signing, told

__all__ = ["AccessToken", "gemini", "known", "vertex_address"]

Credentials = Mapping[str, Any] | str | os.PathLike[str] | Any
"""A service account as the JSON of its key or the path to it, or an object of google-auth's."""

_ADDRESS: Final = "https://generativelanguage.googleapis.com/v1beta"
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_KEYS: Final = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_PROJECT: Final = re.compile(r"(?!\.+$)[\w.:-]+", re.ASCII)
_REGION: Final = re.compile(r"[a-z0-9-]+")
_MULTI: Final = frozenset({"us", "eu"})


def gemini(
    name: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    project: str | None = None,
    location: str | None = None,
    credentials: Credentials | None = None,
    token: Token | None = None,
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A Gemini model: over the Gemini API with a key, or on Vertex AI in a *project* of Google Cloud.

    The key is *api_key*, else `GOOGLE_API_KEY`, else `GEMINI_API_KEY`; `api_key=""` sends none. Vertex AI is asked when
    *project*, *location*, *credentials* or *token* is given, when `GOOGLE_GENAI_USE_VERTEXAI` says so, or when there is
    no key but `GOOGLE_APPLICATION_CREDENTIALS`. There, *project* is found in `GOOGLE_CLOUD_PROJECT` or the credentials,
    *location* in `GOOGLE_CLOUD_LOCATION` (else `global`); *credentials* is the key of a service account, by default
    what Google finds where the program runs; *token* is a function that gives an access token.

    >>> gemini("gemini-2.5-flash", api_key="k", reasoning=0).base_url
    'https://generativelanguage.googleapis.com/v1beta'
    >>> gemini("gemini-2.5-flash", project="mine", location="europe-west4", token=lambda: "t").base_url
    'https://europe-west4-aiplatform.googleapis.com/v1/projects/mine/locations/europe-west4/publishers/google'
    """
    _check_effort(options.get("reasoning"))
    settings: dict[str, Any] = {"name": _named(name), "dialect": _dialect(), "headers": pairs(headers)}
    settings |= {"key_header": "x-goog-api-key", "capabilities": known(name), **checked(options)}
    if _on_vertex(api_key, (told("project", project), told("location", location), credentials, signing(token))):
        key = None if api_key is None else chosen_key(api_key, _KEYS[0])
        signer = token if token is not None or api_key is not None else AccessToken(credentials)
        at = address(base_url) if base_url is not None else _vertex(project, location, signer)
        return Endpoint(base_url=at, provider="vertex", api_key=key, token=signer, **settings)
    at = address(_ADDRESS if base_url is None else base_url)
    return Endpoint(base_url=at, provider="gemini", api_key=_key(api_key), **settings)


def known(name: str) -> Capabilities:
    """What the model *name* is known to take; before Gemini 3, none took a typed answer together with tools.

    >>> known("gemini-2.5-pro").tools_and_schema, known("gemini-3-flash-preview").tools_and_schema
    (False, True)
    """
    from arshai_kit.dialects.gemini import generation

    found = generation(name)
    if found is None:
        return Capabilities()
    return Capabilities(images=True, files=True, audio=True, json_schema=True, tools_and_schema=found >= 3)


def vertex_address(project: str, location: str) -> str:
    """Where the models of *project* are asked on Vertex AI.

    >>> vertex_address("mine", "global")
    'https://aiplatform.googleapis.com/v1/projects/mine/locations/global/publishers/google'
    """
    if not _REGION.fullmatch(location):
        raise Misuse(f"location={location!r} is no region; it looks like 'europe-west4', or is 'global'")
    if not _PROJECT.fullmatch(project):
        raise Misuse(f"project={project!r} is no id of a project; it looks like 'my-project-123'")
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    if location in _MULTI:
        host = f"aiplatform.{location}.rep.googleapis.com"
    return f"https://{host}/v1/projects/{project}/locations/{location}/publishers/google"


class AccessToken:
    """Gives the access token of *source*, a new one before the old one ends; for any thread, and silent about itself.

    A pickle holds the path of a key, never the key.
    """

    __slots__ = ("_found", "_lock", "_process", "_source")

    def __init__(self, source: Credentials | None = None) -> None:
        if isinstance(source, Mapping):
            source = Secret(_as_json(source))
        self._source = source
        self._found: Any = None
        self._lock, self._process = Lock(), os.getpid()
        if not (source is None or isinstance(source, str | os.PathLike | Secret) or hasattr(source, "token")):
            raise Misuse(
                "credentials= is the key of a service account, as its path or its JSON, or an object of google-auth's, "
                f"not {type(source).__name__}"
            )
        if source != Secret(None):
            _google()  # better to say now than at the first call that it is not installed

    def __call__(self) -> str:
        """The token of now."""
        if self._process != os.getpid():  # who held the lock when the process was forked is not in the child
            self._lock, self._process = Lock(), os.getpid()
        with self._lock:
            credentials = self._credentials()
            if not credentials.valid:
                _refreshed(credentials)
            return str(credentials.token)

    def project(self) -> str:
        """The project that the credentials belong to, if they say so."""
        with self._lock:
            return str(getattr(self._credentials(), "project_id", None) or _default_project(self._source) or "")

    def __repr__(self) -> str:
        return "AccessToken('***')"

    def __reduce__(self) -> tuple[Any, ...]:
        plain = self._source is None or isinstance(self._source, str | os.PathLike)
        return AccessToken, (self._source if plain else Secret(None),)

    def _credentials(self) -> Any:
        if self._found is None:
            self._found = _signed_in(self._source)
        return self._found


def _google() -> Any:
    try:
        import google.auth
        import google.auth.transport.requests
    except ImportError:
        need("google-auth with requests", "google")
    return google.auth


def _signed_in(source: Any) -> Any:
    """The credentials of google-auth's that *source* stands for."""
    if source is None:
        return _default()[0]
    if isinstance(source, Secret):
        return _of_key(_as_key(_revealed(source)))
    if isinstance(source, str | os.PathLike):
        return _of_key(os.fspath(source))
    return source


def _as_json(source: Mapping[str, Any]) -> str:
    try:
        return dumps(dict(source)).decode()
    except (TypeError, ValueError):
        raise Misuse("credentials= cannot be used: it is not the JSON of a service account's key") from None


def _as_key(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        raise Misuse("credentials= cannot be used: it is not the JSON of a service account's key") from None


def _revealed(source: Secret) -> str:
    try:
        return source.reveal()
    except MissingKey:
        raise MissingKey("no pickle holds credentials, so they are lost: make the model again with gemini(…)") from None


def _of_key(key: Any) -> Any:
    from google.oauth2.service_account import Credentials as Account

    make = Account.from_service_account_file if isinstance(key, str) else Account.from_service_account_info
    try:
        return make(key, scopes=_SCOPES)
    except (ValueError, OSError) as error:
        where = f" in {key!r}" if isinstance(key, str) else ""
        told = error.strerror if isinstance(error, OSError) else "it is not the JSON of a service account's key"
        raise Misuse(f"credentials= cannot be used{where}: {told}") from None


def _default() -> Any:
    """The credentials, and the project if it is known, that Google finds where the program runs."""
    auth = _google()
    try:
        return auth.default(scopes=_SCOPES)
    except auth.exceptions.DefaultCredentialsError as error:
        raise MissingKey(
            f"there are no credentials for Vertex AI: set {_FILE}, or pass credentials= or token= ({error})"
        ) from None


def _default_project(source: Any) -> Any:
    return _default()[1] if source is None else None


def _refreshed(credentials: Any) -> None:
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())
    except TransportError as error:
        raise Unreachable(f"Google's server of access tokens cannot be reached: {error}") from error
    except GoogleAuthError as error:
        kind = ServerFailed if error.retryable else Unauthorized
        raise kind(f"Google gives no access token for these credentials: {error}") from error


def _on_vertex(api_key: str | Secret | None, given: tuple[Any, ...]) -> bool:
    """Whether Vertex AI is meant: by what is *given*, else by the environment."""
    if any(value is not None for value in given):
        return True
    if api_key is not None:
        return False
    told = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").strip().lower()
    if told:
        return told in {"1", "true"}
    return bool(os.environ.get(_FILE)) and not any(os.environ.get(name, "").strip() for name in _KEYS)


def _vertex(project: str | None, location: str | None, signer: Any) -> str:
    found = project or os.environ.get("GOOGLE_CLOUD_PROJECT", "").strip()
    if not found and isinstance(signer, AccessToken):
        found = signer.project()
    if not found:
        raise Misuse("Vertex AI wants a project: pass project=, or set GOOGLE_CLOUD_PROJECT")
    return vertex_address(found, location or os.environ.get("GOOGLE_CLOUD_LOCATION", "").strip() or "global")


def _key(given: str | Secret | None) -> Secret | None:
    key = chosen_key(given, _KEYS[0]) or chosen_key(given, _KEYS[1])
    if key is None and given is None:
        raise MissingKey(
            "there is no key for Gemini: set GOOGLE_API_KEY or GEMINI_API_KEY, or pass api_key=; for Vertex AI, pass "
            f"project= and set {_FILE}, or pass credentials="
        )
    return key


def _named(name: str) -> str:
    from arshai_kit.dialects.gemini import path

    found = named(name).removeprefix("models/")
    path(found)
    return found


def _check_effort(reasoning: Any) -> None:
    from arshai_kit.dialects.gemini import effort

    effort(reasoning)


def _dialect() -> Dialect:
    """The wire format, imported when a model first speaks it."""
    from arshai_kit.dialects.gemini import GEMINI

    return GEMINI
