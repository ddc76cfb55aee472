"""Whose budgets a request is under. `app.py` hands in who knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from signalbox.actors.key_ring import GatewayKey
from signalbox.machines.budget import Budget


class BudgetsOf(Protocol):
    """Looks into memory, for every request; where there is no budget it gives an empty tuple."""

    def budgets_for(
        self, key: GatewayKey, user: str | None, tags: Sequence[str]
    ) -> Sequence[Budget]:
        """The budgets of all, of the key, of its account, of the end user and of the tags."""
        ...


class NoBudgets:
    """`BudgetsOf` where nobody has any."""

    def budgets_for(
        self, key: GatewayKey, user: str | None, tags: Sequence[str]
    ) -> Sequence[Budget]:
        return ()


NO_BUDGETS = NoBudgets()
