"""Which keys a role may, must and must not hold."""

import hashlib
from datetime import UTC, datetime

import pytest

from controlplane.core.errors import ConfigurationError
from controlplane.core.keyring import (
    KeyInventory,
    RecipientKey,
    RecordKey,
    Role,
    check_pair,
    check_role,
    recipient_key_id,
    sealing_key,
    writing_record_key,
)
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme

CREATED = datetime(2026, 1, 31, tzinfo=UTC)


def leaf(key_id: str = "leaf-1", phase: KeyPhase = KeyPhase.ACTIVE) -> RecipientKey:
    return RecipientKey(key_id, KeyClass.LEAF, Scheme.HPKE_X25519, phase, CREATED)


def account(key_id: str = "account-1", phase: KeyPhase = KeyPhase.ACTIVE) -> RecipientKey:
    return RecipientKey(key_id, KeyClass.ACCOUNT, Scheme.HPKE_X25519, phase, CREATED)


def record(key_id: str = "record-1", phase: KeyPhase = KeyPhase.ACTIVE) -> RecordKey:
    return RecordKey(key_id, phase, CREATED)


SERVE = KeyInventory("serve-keys", private=(leaf(),), record=(record(),))
WORKER = KeyInventory("worker-keys", private=(account(),), public=(leaf(),), record=(record(),))
BOTH = KeyInventory("keys", private=(leaf(), account()), record=(record(),))


def test_a_key_id_is_made_of_the_public_key() -> None:
    """The id is the first 16 hexadecimal digits of SHA-256 over the public key."""
    assert hashlib.sha256(b"public").hexdigest()[:16] == recipient_key_id(b"public")


@pytest.mark.parametrize(
    ("role", "inventory"),
    [
        (Role.SERVE, SERVE),
        (Role.WORKER, WORKER),
        (Role.UP, BOTH),
        # Rotation under way: the next key is known everywhere before it is used, the last one still opens.
        (
            Role.SERVE,
            KeyInventory("k", private=(leaf("a", KeyPhase.RETIRING), leaf("b"), leaf("c", KeyPhase.PREPARED)), record=(record(),)),
        ),
        (Role.SERVE, KeyInventory("k", private=(leaf(phase=KeyPhase.PREPARED),), record=(record(),))),
        (
            Role.WORKER,
            KeyInventory(
                "k",
                private=(account(), account("b", KeyPhase.PREPARED)),
                public=(leaf(phase=KeyPhase.RETIRED), leaf("b"), leaf("c", KeyPhase.PREPARED)),
                record=(record("a", KeyPhase.RETIRING), record("b")),
            ),
        ),
    ],
)
def test_a_sound_inventory_suits_its_role(role: Role, inventory: KeyInventory) -> None:
    """Each role starts with its own keys, during a rotation too."""
    check_role(inventory, role)


@pytest.mark.parametrize(
    ("role", "inventory", "says"),
    [
        (Role.SERVE, BOTH, "private `account` key account-1, which `serve` must never have"),
        (Role.SERVE, WORKER, "private `account` key account-1, which `serve` must never have"),
        (
            Role.SERVE,
            KeyInventory("k", private=(leaf(), account(phase=KeyPhase.RETIRED)), record=(record(),)),
            "private `account` key account-1, which `serve` must never have",
        ),
        (Role.SERVE, KeyInventory("k", public=(leaf(),), record=(record(),)), "no private `leaf` key, which `serve` needs"),
        (
            Role.SERVE,
            KeyInventory("k", private=(leaf(phase=KeyPhase.RETIRED),), record=(record(),)),
            "no private `leaf` key, which `serve` needs",
        ),
        (Role.SERVE, KeyInventory("k", private=(leaf(),)), "no ACTIVE record key"),
        (Role.SERVE, KeyInventory("k", private=(leaf(),), record=(record("a"), record("b"))), r"more than one ACTIVE record key \(a, b\)"),
        (Role.SERVE, KeyInventory("k"), "no private `leaf` key"),
        (Role.WORKER, BOTH, "private `leaf` key leaf-1, which `worker` must never have"),
        (Role.WORKER, SERVE, "private `leaf` key leaf-1, which `worker` must never have"),
        (Role.WORKER, KeyInventory("k", public=(leaf(),), record=(record(),)), "no private `account` key, which `worker` needs"),
        (Role.WORKER, KeyInventory("k", private=(account(),), record=(record(),)), "no ACTIVE `leaf` recipient key"),
        (
            Role.WORKER,
            KeyInventory("k", private=(account(),), public=(leaf(phase=KeyPhase.PREPARED),), record=(record(),)),
            "no ACTIVE `leaf` recipient key",
        ),
        (
            Role.WORKER,
            KeyInventory("k", private=(account(),), public=(leaf("a"), leaf("b")), record=(record(),)),
            r"more than one ACTIVE `leaf` recipient key \(a, b\)",
        ),
        (
            Role.WORKER,
            KeyInventory("k", private=(account(phase=KeyPhase.RETIRING),), public=(leaf(),), record=(record(),)),
            "no ACTIVE `account` recipient key",
        ),
        (
            Role.WORKER,
            KeyInventory("k", private=(account("a", KeyPhase.RETIRING),), public=(leaf(), account("b")), record=(record(),)),
            "only the public half of the ACTIVE `account` key b",
        ),
        (Role.WORKER, KeyInventory("k", private=(account(),), public=(leaf(),)), "no ACTIVE record key"),
        (Role.UP, SERVE, "no private `account` key, which `up` needs"),
        (Role.UP, WORKER, "no private `leaf` key, which `up` needs"),
    ],
)
def test_an_inventory_that_does_not_suit_is_refused(role: Role, inventory: KeyInventory, says: str) -> None:
    """A role does not start with the other's private key, nor without one of its own; the text names place, key and remedy."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        check_role(inventory, role)
    assert str(caught.value).startswith(f"{inventory.location} ")
    assert any(remedy in str(caught.value) for remedy in ("move the file", "certplane keys generate", "set `Phase:", "copy"))


def test_private_classes_count_every_phase() -> None:
    """A retired private key still counts as held: it still opens what was sealed to it."""
    inventory = KeyInventory("k", private=(leaf(phase=KeyPhase.RETIRED),), public=(account(),))
    assert frozenset({KeyClass.LEAF}) == inventory.private_classes()


def test_the_sealing_key_is_the_active_one() -> None:
    """New seals use the ACTIVE key, whatever else is there, from the private half if that is what is here."""
    inventory = KeyInventory("k", private=(leaf("b"), account()), public=(leaf("a", KeyPhase.RETIRING), leaf("c", KeyPhase.PREPARED)))
    assert leaf("b") == sealing_key(inventory, KeyClass.LEAF)


def test_the_writing_record_key_is_the_active_one() -> None:
    """New records are written under the ACTIVE record key."""
    inventory = KeyInventory("k", record=(record("a", KeyPhase.RETIRING), record("b"), record("c", KeyPhase.PREPARED)))
    assert record("b") == writing_record_key(inventory)


def test_the_two_roles_fit() -> None:
    """`serve` opens what `worker` seals, and both write records that the other believes."""
    check_pair(SERVE, WORKER)


@pytest.mark.parametrize(
    ("serve", "worker", "says"),
    [
        (KeyInventory("s", private=(leaf("other"),), record=(record(),)), WORKER, "seals to the `leaf` key leaf-1"),
        (KeyInventory("s", private=(leaf(phase=KeyPhase.RETIRED),), record=(record(),)), WORKER, "seals to the `leaf` key leaf-1"),
        (KeyInventory("s", private=(leaf(),), record=(record("other"),)), WORKER, "s writes records under the record key other"),
        (
            KeyInventory("s", private=(leaf(),), record=(record("b"),)),
            KeyInventory("w", private=(account(),), public=(leaf(),), record=(record("a"), record("b", KeyPhase.RETIRING))),
            "w writes records under the record key a",
        ),
    ],
)
def test_two_roles_that_do_not_fit_are_refused(serve: KeyInventory, worker: KeyInventory, says: str) -> None:
    """A pair of directories from two installations is found before anything is sealed that nobody opens."""
    with pytest.raises(ConfigurationError, match=says):
        check_pair(serve, worker)
