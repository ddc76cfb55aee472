"""The key pool against what must hold of a key, written down naively."""

from dataclasses import dataclass

import trio
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from signalbox.actors.key_pool import Denied, Lease
from signalbox.errors import FailureKind
from signalbox.machines.keys import EVICTION
from signalbox.machines.limits import WINDOW
from signalbox.machines.probes import PATIENCE
from tests.key_desk import SUCCESS, desk, failed, key


@dataclass
class ModelKey:
    """What must hold of a key, written down naively."""

    rpm: int
    sent: list[float]
    cool_until: float = -1.0
    unproven: bool = False
    """Rate-limited, and no probe has succeeded since."""
    suspect: bool = False
    """Rejected once, and no probe has succeeded since."""
    evicted_until: float = -1.0


class KeyPoolMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.model = {"a": ModelKey(2, []), "b": ModelKey(5, [])}
        self.desk = desk(*(key(name, rpm=known.rpm) for name, known in self.model.items()))
        self.open: dict[str, tuple[Lease, float]] = {}
        self.probes: dict[str, float] = {}

    @property
    def now(self) -> float:
        return self.desk.clock.now

    @rule(target=leases, tokens=st.integers(0, 100))
    def lease(self, tokens: int) -> Lease | None:
        lease = trio.run(self.desk.ask, "m", tokens)
        if isinstance(lease, Denied):
            assert lease.available_at is None or lease.available_at > self.now
            return None
        known = self.model[lease.key.id]
        assert self.now >= known.cool_until, "leased while it cooled down"
        assert self.now >= known.evicted_until, "leased while it was evicted"
        if known.unproven:
            probing = [at for id, at in self.probes.items() if self.open[id][0].key == lease.key]
            assert all(self.now >= at + PATIENCE for at in probing), "two probes at once"
            self.probes[lease.id] = self.now
        known.sent.append(self.now)
        self.open[lease.id] = (lease, self.now)
        return lease

    @rule(
        lease=consumes(leases),
        kind=st.sampled_from(
            [
                None,
                FailureKind.RATE_LIMITED,
                FailureKind.KEY_REJECTED,
                FailureKind.SERVER_ERROR,
                FailureKind.CONNECT_FAILED,
            ]
        ),
        retry_after=st.none() | st.integers(1, 90),
    )
    def settle(
        self, lease: Lease | None, kind: FailureKind | None, retry_after: int | None
    ) -> None:
        if lease is None:
            return
        held = self.open.pop(lease.id, None)
        probe = self.probes.pop(lease.id, None) is not None
        outcome = SUCCESS if kind is None else failed(kind, retry_after)
        in_time = held is not None and self.now < lease.expires_at
        for _ in range(2):
            self.desk.pool.settle(lease, outcome)
        assert self.desk.store.settled[-2:] == [in_time, False]
        if held is not None and in_time:
            self._learn(self.model[lease.key.id], kind, retry_after, probe, held[1])

    def _learn(
        self,
        known: ModelKey,
        kind: FailureKind | None,
        retry_after: int | None,
        probe: bool,
        sent_at: float,
    ) -> None:
        if kind is FailureKind.CONNECT_FAILED:
            known.sent.remove(sent_at)
        elif kind is FailureKind.KEY_REJECTED:
            if self.now >= known.evicted_until and known.suspect:
                known.evicted_until = self.now + EVICTION
                self._forget_probes(known)
            known.unproven = known.suspect = True
        elif kind is FailureKind.RATE_LIMITED or (kind is not None and retry_after is not None):
            if self.now >= known.evicted_until:
                known.cool_until = max(known.cool_until, self.now + (retry_after or 0))
            known.unproven = True
            self._forget_probes(known)
        elif kind is None and probe:
            known.unproven = known.suspect = False
            self._forget_probes(known)

    def _forget_probes(self, known: ModelKey) -> None:
        self.probes = {
            id: at
            for id, at in self.probes.items()
            if self.model[self.open[id][0].key.id] is not known
        }

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.desk.clock.now += seconds

    @rule()
    def eviction_passes(self) -> None:
        self.desk.clock.now += EVICTION

    @rule()
    def sweep(self) -> None:
        trio.run(self.desk.pool.sweep)
        for id, (lease, _) in list(self.open.items()):
            if self.now >= lease.expires_at:
                del self.open[id]
                self.probes.pop(id, None)
        assert trio.run(self.desk.pool.statistics).open_leases == len(self.open)

    @invariant()
    def no_key_is_used_past_its_rpm(self) -> None:
        for known in self.model.values():
            inside = [at for at in known.sent if at + WINDOW > self.now]
            assert len(inside) <= known.rpm


TestKeyPoolAgainstAModel = KeyPoolMachine.TestCase
