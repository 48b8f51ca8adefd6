"""Rotation of keys: when a phase may follow another. Decisions on values; what is asked of replicas and of the store comes in.

    PREPARED --activate--> ACTIVE --(another is activated)--> RETIRING --retire--> RETIRED

A key becomes ACTIVE when everybody who must open with it, or believe it, says that they can: an envelope that a replica cannot open is a
domain without HTTPS there. It is RETIRED when nothing stored refers to it any more, and nobody writes with it: what is sealed to a key
that was destroyed is lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.core.errors import FailedPrecondition
from controlplane.core.keyring import KeyInventory, RecipientKey, RecordKey, Role
from controlplane.core.sealing import KeyClass, KeyPhase

RECORD = "record"
"""The kind of a record key, beside the key classes of recipient keys."""


@dataclass(frozen=True, slots=True)
class ReplicaKeys:
    """What a running process reports of its keys, by id. `opens` are recipient keys, `believes` record keys; `writes` are the keys that
    it seals to and the record key that it writes with.
    """  # noqa: D205 - one sentence

    replica: str
    role: Role
    opens: frozenset[str]
    believes: frozenset[str]
    writes: frozenset[str]
    seen: datetime


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """One key gets another phase."""

    key_id: str
    phase: KeyPhase


def find_key(inventories: Iterable[KeyInventory], key_id: str) -> tuple[str, RecipientKey | RecordKey]:
    """Returns the kind (a key class, or `RECORD`) and the key with this id.

    Raises:
        FailedPrecondition: none of the directories has it.
    """
    for inventory in inventories:
        for recipient in (*inventory.private, *inventory.public):
            if recipient.key_id == key_id:
                return recipient.key_class, recipient
        for record in inventory.record:
            if record.key_id == key_id:
                return RECORD, record
    raise FailedPrecondition(f"no key directory given here has a key {key_id}: `certplane keys list DIR` shows what is there")


def plan_activation(inventories: Sequence[KeyInventory], key_id: str, replicas: Sequence[ReplicaKeys]) -> Sequence[PhaseChange]:
    """Returns the changes of phases that make a key ACTIVE, and the one before it RETIRING. Empty when it is ACTIVE already.

    Raises:
        FailedPrecondition: the key cannot become ACTIVE, or a live replica could not open or believe what is written with it.
    """
    kind, key = find_key(inventories, key_id)
    if key.phase in {KeyPhase.RETIRING, KeyPhase.RETIRED}:
        raise FailedPrecondition(f"the key {key_id} is {key.phase}: make a new one with `certplane keys generate --add {kind}`")
    concerned = [replica for replica in replicas if replica.role in _CONCERNED[kind]]
    if not concerned:
        roles = " or ".join(f"`{role}`" for role in _CONCERNED[kind])
        raise FailedPrecondition(
            f"no live {roles} reports to this store, so nobody is known to open what would be sealed to {key_id}:"
            " check --redis-url; if nothing is running on purpose, say --without-replicas"
        )
    lacking = sorted(replica.replica for replica in concerned if key_id not in (replica.believes if kind == RECORD else replica.opens))
    if lacking:
        raise FailedPrecondition(
            f"the key {key_id} is not known to {', '.join(lacking)}: copy its file to their key directories;"
            " they read it within seconds, without a restart"
        )
    return activation_changes(inventories, key_id)


def activation_changes(inventories: Sequence[KeyInventory], key_id: str) -> Sequence[PhaseChange]:
    """Returns the changes alone, whatever replicas say.

    Raises:
        FailedPrecondition: none of the directories has the key.
    """
    kind, key = find_key(inventories, key_id)
    before = {other.key_id for inventory in inventories for other in _of_kind(inventory, kind) if other.phase is KeyPhase.ACTIVE} - {key_id}
    changes = [PhaseChange(other, KeyPhase.RETIRING) for other in sorted(before)]
    # Whatever a directory says: one of several may be behind.
    stale = any(other.key_id == key_id and other.phase is not KeyPhase.ACTIVE for inv in inventories for other in _of_kind(inv, kind))
    return [*changes, PhaseChange(key.key_id, KeyPhase.ACTIVE)] if stale or changes else changes


def check_retirement(
    inventories: Sequence[KeyInventory], key_id: str, references: int, replicas: Sequence[ReplicaKeys], *, unreadable: int = 0
) -> None:
    """Checks that nothing needs a key any more.

    `references` counts what is stored and refers to it, `unreadable` what is stored and does not say.

    Raises:
        FailedPrecondition: something does; the text says what.
    """
    kind, key = find_key(inventories, key_id)
    if key.phase is KeyPhase.ACTIVE:
        raise FailedPrecondition(f"the key {key_id} is ACTIVE: activate another one first")
    writing = sorted(replica.replica for replica in replicas if key_id in replica.writes)
    if writing:
        raise FailedPrecondition(
            f"{', '.join(writing)} still writes with the key {key_id}: its key directory says ACTIVE of it, or it has not read it again yet"
        )
    if references:
        how = "run `certplane keys reseal` for both classes" if kind == RECORD else "run `certplane keys reseal`"
        raise FailedPrecondition(f"{references} stored records still refer to the key {key_id}, and would be lost with it: {how} first")
    if unreadable:
        raise FailedPrecondition(
            f"{unreadable} stored records cannot be read, and may refer to the key {key_id}: `certplane keys reseal` names them"
        )


_CONCERNED = {
    KeyClass.LEAF: (Role.SERVE,),
    KeyClass.ACCOUNT: (Role.WORKER,),
    RECORD: (Role.SERVE, Role.WORKER),
}


def _of_kind(inventory: KeyInventory, kind: str) -> Sequence[RecipientKey | RecordKey]:
    if kind == RECORD:
        return inventory.record
    return [key for key in (*inventory.private, *inventory.public) if key.key_class == kind]
