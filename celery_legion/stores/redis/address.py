"""The address of a server: a URL as Celery takes it, in redis-py's terms."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import CredentialProvider

SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis+socket": "unix"}
"""Schemes of Celery's and of ours → redis-py's."""

SOCKET = "unix"

CERTIFICATE_CHECKS = {f"cert_{name}": name for name in ("none", "optional", "required")}
"""What Celery's documentation calls the checks of a certificate → redis-py's names."""


class AddressError(ValueError):
    """A URL names something that cannot be used; the text shows nothing of a password."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server: its URL for redis-py, and the options that no URL can hold."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached by a path of this machine."""
        return self.url.startswith(f"{SOCKET}://")

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            AddressError: Its credential provider cannot be made.
            ValueError: It cannot be read at all.
        """
        parts = urlsplit(url)
        scheme = SCHEMES.get(parts.scheme, parts.scheme)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        options: dict[str, Any] = {}
        place = parts.netloc
        if provider := query.pop("credential_provider", None):
            options["credential_provider"] = _provider(provider)
            # As Celery does: user and password are the provider's.
            place = place.rpartition("@")[2]
        if scheme == SOCKET and "virtual_host" in query:
            query.setdefault("db", query.pop("virtual_host").lstrip("/"))
        if (check := query.get("ssl_cert_reqs")) is not None:
            query["ssl_cert_reqs"] = CERTIFICATE_CHECKS.get(check.lower(), check)
        oldest = query.get("ssl_min_version", "")
        if oldest in ssl.TLSVersion.__members__:
            query["ssl_min_version"] = str(int(ssl.TLSVersion[oldest]))
        text = f"?{urlencode(query)}" if query else ""
        return cls(f"{scheme}://{place}{parts.path}{text}", options)


def _provider(name: str) -> CredentialProvider:
    """Make the provider of that class, which the app's own code holds."""
    module, _, attribute = name.replace(":", ".").rpartition(".")
    # None of the texts shows the name or what was raised: a password may stand in its place, or be told by it.
    try:
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as exc:
        text = f"what its credential_provider names cannot be imported ({type(exc).__name__})"
        raise AddressError(f"{text}; it is the class as module.Class") from exc
    except Exception as exc:
        raise AddressError(f"its credential_provider cannot be made without arguments: {type(exc).__name__}") from exc
    if not isinstance(made, CredentialProvider):
        raise AddressError("its credential_provider is no redis.CredentialProvider")
    return made
