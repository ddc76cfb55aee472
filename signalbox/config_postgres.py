"""What a URL of PostgreSQL names. It may hold a password, so nothing here repeats it."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

from signalbox.types import Secret

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
"""The last one is how SQLAlchemy calls the same."""

EXPECTED = (
    "expected postgresql://user:password@host/database, "
    "with %40, %2F and the like for special characters in the password"
)
# Of one host: a name, an IPv6 address or a folder of sockets, and a port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._%-]*)(:[0-9]{1,5})?")


class PostgresUrl(msgspec.Struct, frozen=True):
    """Where a database is, with and without its secret."""

    conninfo: Secret
    """As the driver takes it."""
    host: str
    """Host and port, several with commas between; or the folder of the server's socket."""
    database: str

    def __str__(self) -> str:
        return f"PostgreSQL database {self.database} at {self.host}"


def is_postgres_url(url: str) -> bool:
    return url.partition(":")[0] in SCHEMES


def read_postgres_url(url: str) -> PostgresUrl:
    """Raises `ValueError` saying what was expected."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"is no URL: {EXPECTED}") from None
    host, database = _host(parts, options), _database(parts, options)
    whole = url.startswith(f"{parts.scheme}://") and not parts.fragment
    if not whole or host is None or database is None:
        raise ValueError(EXPECTED)
    conninfo = "postgresql" + url[len(parts.scheme) :]
    return PostgresUrl(Secret(conninfo), host, database)


def _host(parts: SplitResult, options: dict[str, list[str]]) -> str | None:
    """None: it is none. A password whose characters are not escaped ends up here."""
    named = parts.netloc.rpartition("@")[2]
    if not all(_HOST.fullmatch(each) for each in named.split(",")):
        return None
    return options.get("host", [unquote(named)])[-1] or "the local socket"


def _database(parts: SplitResult, options: dict[str, list[str]]) -> str | None:
    [*_, name] = options.get("dbname", [unquote(parts.path.removeprefix("/"))])
    return name if re.fullmatch(r"[^/@\0]+", name) else None
