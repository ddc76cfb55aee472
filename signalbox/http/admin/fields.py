"""The values of the admin API: how they look, how they are checked, how they are told."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from signalbox.http.admin import problems
from signalbox.persistence.record_tables import MANAGED
from signalbox.persistence.records import Managed
from signalbox.persistence.stores import M
from signalbox.types import LONGEST_TAG, NanoUSD, usd

# What follows the last character is not left to `$`, before which Python allows a line's end.
_LINE = r"^[^\x00-\x1f\x7f]+(?!\n)$"
_AMOUNT = r"^[0-9]{1,9}(\.[0-9]{1,9})?(?!\n)$"
_SIGNED = r"^-?[0-9]{1,9}(\.[0-9]{1,9})?(?!\n)$"
_PRINTABLE = r"^[\x21-\x7e]+(?!\n)$"
_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?!\n)$"
_SLUG = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(?!\n)$"
_WORDS = r"^[a-z_]+(,[a-z_]+)*(?!\n)$"

PATTERN_WORDS = {
    _LINE: "one line of text without control characters",
    _AMOUNT: "an amount in US dollars with at most nine digits before and after the point",
    _SIGNED: "an amount in US dollars with at most nine digits before and after the point",
    _PRINTABLE: "printable ASCII without spaces",
    _ID: "an id, which is a UUIDv7",
    _WORDS: "words with commas between them",
    _SLUG: "letters, digits, `_`, `.` and `-`, with a letter or a digit first",
}

Id = Annotated[str, Meta(pattern=_ID, max_length=36)]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
Tag = Annotated[str, Meta(min_length=1, max_length=LONGEST_TAG, pattern=_LINE)]
Line = Annotated[str, Meta(min_length=1, max_length=1000, pattern=_LINE)]
Words = Annotated[str, Meta(max_length=100, pattern=_WORDS)]
Slug = Annotated[str, Meta(min_length=1, max_length=100, pattern=_SLUG)]
SecretText = Annotated[str, Meta(min_length=1, max_length=8192, pattern=_PRINTABLE)]
Names = Annotated[tuple[Name, ...], Meta(max_length=1000)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
UnixTime = Annotated[float, Meta(ge=0, le=2**40, description="Unix time in seconds.")]

NO_PLACE = "expected what `next` said in the page before"

Usd = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="US dollars, exact.")]
AmountText = Annotated[str, Meta(pattern=_AMOUNT)]
AmountNumber = Annotated[float, Meta(ge=0, lt=1e9)]
GivenUsd = AmountText | AmountNumber
"""US dollars as text, exact, or as a number."""
SignedUsd = Annotated[str, Meta(pattern=_SIGNED)] | Annotated[float, Meta(gt=-1e9, lt=1e9)]


def told_usd(amount: NanoUSD) -> str:
    return format(usd(amount), "f")


def nano_usd(given: str | float, param: str) -> NanoUSD:
    """Raises `RequestError` for an amount with more than nine decimals."""
    # A number is meant as it is written: the shortest text that stands for it.
    amount = Decimal(given if isinstance(given, str) else repr(given)).scaleb(9)
    if amount != amount.to_integral_value():
        raise problems.invalid(param, "expected at most nine decimals")
    return NanoUSD(int(amount))


def as_kept(record: M) -> M:
    """As the database will give it back: times to the microsecond, what it cannot keep replaced.

    Raises `RequestError` for what cannot be kept at all.
    """
    table = MANAGED[type(record)]
    try:
        kept: M = table.read(table.values(record))
    except ValueError as error:
        raise problems.invalid(None, str(error)) from None
    return kept


def version_of(record: Managed) -> str:
    """Changes with each change of the record."""
    values = MANAGED[type(record)].values(record)
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:16]


def cursor_of(place: Any) -> str:
    """Where a page ended, as clients give it back. `place`: JSON's values."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, kind: Any) -> Any:
    """What `cursor_of` was given. Raises `RequestError` for what it did not make."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError):
        raise problems.invalid("after", "expected what `next` said in the page before") from None
