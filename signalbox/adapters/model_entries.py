"""Models as lists show them."""

from __future__ import annotations

import msgspec

from signalbox.adapters.catalogue_facts import MODALITIES
from signalbox.types import Price, Route


class ModelEntry(msgspec.Struct, frozen=True):
    """A model as a list shows it; price and context are those of its first route. None: unknown."""

    id: str
    owned_by: str
    """The provider of its first route."""
    servable: bool
    """Whether a configured key can serve it."""
    context_length: int | None = None
    max_output: int | None = None
    inputs: tuple[str, ...] | None = None
    """Modalities, as `outputs`; what is known of `capabilities`."""
    outputs: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    price: Price = msgspec.field(default_factory=Price)
    served_as: str = ""
    """The name of the model at `owned_by`."""
    created: int = 0
    """Unix time. Lists of models have this field; nobody says when a model was made."""


def entry_of(name: str, route: Route, *, servable: bool) -> ModelEntry:
    return ModelEntry(
        id=name,
        owned_by=route.provider,
        servable=servable,
        context_length=route.context_length,
        max_output=route.max_output,
        inputs=_listed(route.inputs),
        outputs=_listed(route.outputs),
        capabilities=None if route.capabilities is None else tuple(sorted(route.capabilities)),
        price=route.price,
        served_as=route.model,
    )


def _listed(modalities: frozenset[str] | None) -> tuple[str, ...] | None:
    return None if modalities is None else tuple(sorted(modalities, key=MODALITIES.index))
