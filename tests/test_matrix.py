"""The matrix of doors and providers' wires, by the vendors' SDKs over real sockets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.matrix import CASES, WIRES, Broken, Cell, Place, page, pairwise, supported
from tests.matrix_world import World, matrix_world
from tools.write_docs import ROOT


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with matrix_world() as world:
        yield world


@pytest.mark.parametrize("place", pairwise(supported()), ids="-".join)
def test_pairs(world: World, place: Place) -> None:
    world.run(place)


@pytest.mark.long
def test_every_cell_and_the_page_that_tells_of_them(world: World) -> None:
    failed: dict[Place, str] = {}
    for place in supported():
        try:
            world.run(place)
        except Exception as error:
            failed[place] = f"{type(error).__name__}: {error}"
    sys.stdout.write(page(failed))
    listed = "\n".join(f"{'-'.join(place)}: {why}" for place, why in failed.items())
    assert not failed, listed
    assert (ROOT / "docs/compatibility.md").read_text(encoding="utf-8") == page()


def test_a_cell_that_shows_something_else_is_broken(world: World) -> None:
    """The checks can fail: a picture that never went out, a call that was not made."""
    wire = WIRES["compatible"]
    driver = world.drivers["chat"]
    cell = Cell(driver, "to-compatible", wire, "/v1/chat/completions", world.received)
    CASES["text"](cell)
    with pytest.raises(Broken, match="did not get"):
        cell.carried("a picture")
    cell.path = "/v1/messages"
    with pytest.raises(Broken, match="went to"):
        CASES["text"](cell)
