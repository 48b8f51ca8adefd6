"""Rotation of keys: which phase may follow which, and what stops it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controlplane.core.errors import FailedPrecondition
from controlplane.core.keyring import KeyInventory, RecipientKey, RecordKey, Role
from controlplane.core.rotation import PhaseChange, ReplicaKeys, check_retirement, find_key, plan_activation
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
OLD = RecipientKey("old", KeyClass.LEAF, Scheme.HPKE_X25519, KeyPhase.ACTIVE, NOW)
NEW = RecipientKey("new", KeyClass.LEAF, Scheme.HPKE_X25519, KeyPhase.PREPARED, NOW)
ACCOUNT = RecipientKey("account", KeyClass.ACCOUNT, Scheme.HPKE_X25519, KeyPhase.PREPARED, NOW)
RECORD_OLD = RecordKey("record-old", KeyPhase.ACTIVE, NOW)
RECORD_NEW = RecordKey("record-new", KeyPhase.PREPARED, NOW)
SERVE = KeyInventory("/serve", private=(OLD, NEW), record=(RECORD_OLD, RECORD_NEW))
WORKER = KeyInventory("/worker", private=(ACCOUNT,), public=(OLD, NEW), record=(RECORD_OLD, RECORD_NEW))
BOTH = (SERVE, WORKER)


def replica(name: str, role: Role, *, opens: Sequence[str] = (), believes: Sequence[str] = (), writes: Sequence[str] = ()) -> ReplicaKeys:
    """A report."""
    return ReplicaKeys(name, role, frozenset(opens), frozenset(believes), frozenset(writes), NOW)


def test_a_key_that_every_replica_opens_becomes_active() -> None:
    """The new key becomes ACTIVE and the one before it RETIRING, in one plan."""
    replicas = [replica("a", Role.SERVE, opens=["old", "new"]), replica("b", Role.SERVE, opens=["new"])]
    assert [PhaseChange("old", KeyPhase.RETIRING), PhaseChange("new", KeyPhase.ACTIVE)] == list(plan_activation(BOTH, "new", replicas))


def test_a_replica_that_cannot_open_stops_the_activation() -> None:
    """Each live `serve` that lacks the key is named, and others are not."""
    replicas = [replica("a", Role.SERVE, opens=["old", "new"]), replica("b", Role.SERVE, opens=["old"])]
    with pytest.raises(FailedPrecondition, match="the key new is not known to b:"):
        plan_activation(BOTH, "new", replicas)


def test_a_worker_need_not_open_a_leaf_key() -> None:
    """Only `serve` opens leaf keys, so a worker that cannot does not stop the activation."""
    replicas = [replica("a", Role.SERVE, opens=["new"]), replica("w", Role.WORKER)]
    assert PhaseChange("new", KeyPhase.ACTIVE) in plan_activation(BOTH, "new", replicas)


def test_no_replica_at_all_is_no_consent() -> None:
    """When nobody reports, most likely the store is the wrong one: the activation is refused and the way around is named."""
    with pytest.raises(FailedPrecondition, match=r"no live `serve` reports.*--without-replicas"):
        plan_activation(BOTH, "new", [replica("w", Role.WORKER)])


def test_an_account_key_is_the_workers_matter() -> None:
    """A new `account` key needs every live worker, and no `serve`."""
    replicas = [replica("a", Role.SERVE), replica("w", Role.WORKER, opens=["account"])]
    assert [PhaseChange("account", KeyPhase.ACTIVE)] == list(plan_activation(BOTH, "account", replicas))


@pytest.mark.parametrize("lacking", [Role.SERVE, Role.WORKER])
def test_a_record_key_must_be_believed_by_both_roles(lacking: Role) -> None:
    """A record key that one role does not know yet would make that role reject every new record."""
    replicas = [replica(str(role), role, believes=() if role is lacking else ["record-new"]) for role in (Role.SERVE, Role.WORKER)]
    with pytest.raises(FailedPrecondition, match=f"not known to {lacking}:"):
        plan_activation(BOTH, "record-new", replicas)


def test_an_active_key_stays_active() -> None:
    """To activate what is ACTIVE everywhere changes nothing."""
    assert [] == list(plan_activation(BOTH, "old", [replica("a", Role.SERVE, opens=["old"])]))


def test_a_directory_that_is_behind_is_brought_up() -> None:
    """A run that was cut off between two directories is finished by the next."""
    ahead = replace(SERVE, private=(replace(OLD, phase=KeyPhase.RETIRING), replace(NEW, phase=KeyPhase.ACTIVE)))
    changes = plan_activation((ahead, WORKER), "new", [replica("a", Role.SERVE, opens=["new"])])
    assert [PhaseChange("old", KeyPhase.RETIRING), PhaseChange("new", KeyPhase.ACTIVE)] == list(changes)


@pytest.mark.parametrize("phase", [KeyPhase.RETIRING, KeyPhase.RETIRED])
def test_a_key_does_not_come_back(phase: KeyPhase) -> None:
    """A key that is on its way out is not made ACTIVE again."""
    inventory = replace(SERVE, private=(OLD, replace(NEW, phase=phase)))
    with pytest.raises(FailedPrecondition, match=f"the key new is {phase}"):
        plan_activation((inventory,), "new", [replica("a", Role.SERVE, opens=["new"])])


def test_an_unknown_key_is_named() -> None:
    """A key id that no directory has is refused before anything is asked."""
    with pytest.raises(FailedPrecondition, match="has a key nope"):
        find_key(BOTH, "nope")


RETIRING = (replace(SERVE, private=(replace(OLD, phase=KeyPhase.RETIRING), replace(NEW, phase=KeyPhase.ACTIVE))),)


def test_a_key_without_references_retires() -> None:
    """Nothing stored and nobody writing: the key may go."""
    check_retirement(RETIRING, "old", 0, [replica("w", Role.WORKER, writes=["new"])])


@pytest.mark.parametrize(
    ("inventories", "references", "replicas", "says"),
    [
        (BOTH, 0, [], "is ACTIVE: activate another"),
        (RETIRING, 1, [], "1 stored records still refer"),
        (RETIRING, 0, [replica("w", Role.WORKER, writes=["old"])], "w still writes with the key old"),
    ],
    ids=["active", "referred to", "written with"],
)
def test_a_key_in_use_does_not_retire(
    inventories: Sequence[KeyInventory], references: int, replicas: Sequence[ReplicaKeys], says: str
) -> None:
    """A key that seals, that something stored needs, or that a worker still seals to, stays."""
    with pytest.raises(FailedPrecondition, match=says):
        check_retirement(inventories, "old", references, replicas)
