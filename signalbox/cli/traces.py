"""`signalbox traces`: saved traces, taken together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from signalbox.cli.common import MISUSED, existing_store, fail, located, read_settings
from signalbox.persistence.stores import Store, TraceFilter

LOOKED_AT_ONCE = 2_000
"""A statement's worth: some milliseconds, however many traces there are."""
DELETED_AT_ONCE = 100
PAUSE_SECONDS = 0.02
"""After each hundred, in which a gateway beside gets its turn to write."""

_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def traces() -> None:
    """Saved traces: deletes those of a user, with a tag, or from before a day."""


@traces.command("delete")
@click.option("--user", help="Of this end user, as requests name it.")
@click.option("--tag", help="With this tag.")
@click.option("--before", type=_WHEN, help="Started before this day or time, in UTC.")
@click.option("--dry-run", is_flag=True, help="Only say how many they are.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@located
def delete(
    user: str | None,
    tag: str | None,
    before: datetime | None,
    *,
    dry_run: bool,
    yes: bool,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Deletes traces with their events and bodies: those to which all of the options apply.

    The ledger keeps what was charged. Requests under way are saved at their end.
    """
    since = None if before is None else before.replace(tzinfo=UTC).timestamp()
    wanted = TraceFilter(user, tag, since)
    if not wanted:
        fail("expected --user, --tag or --before: which traces are meant?", MISUSED)
    with existing_store(read_settings(config), data_dir) as store:
        if dry_run or not yes:
            count = sum(map(len, _matching(store, wanted)))
            if dry_run or not count:
                click.echo(f"{_traces(count)} would be deleted")
                return
            click.confirm(f"Delete {_traces(count)}?", abort=True)
        deleted = 0
        for ids in _matching(store, wanted):
            for start in range(0, len(ids), DELETED_AT_ONCE):
                deleted += store.delete_these_traces(ids[start : start + DELETED_AT_ONCE])
                threading.Event().wait(PAUSE_SECONDS)
    click.echo(f"{_traces(deleted)} deleted, with events and bodies")


def _matching(store: Store, wanted: TraceFilter) -> Iterator[tuple[str, ...]]:
    """The ids, some at a time."""
    last: str | None = None
    while True:
        found = store.match_traces(wanted, after=last, limit=LOOKED_AT_ONCE)
        if found.ids:
            yield found.ids
        last = found.last
        if last is None:
            return


def _traces(count: int) -> str:
    return "1 trace" if count == 1 else f"{count:,} traces"
