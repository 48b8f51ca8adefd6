"""The keyring: which recipient and record keys a process may, must and must not hold.

Recipient keys come in two classes (`KeyClass`), and the separation of roles is the separation of their private halves: `serve`
opens leaf keys and can never use an ACME account; `worker` uses the account and can never open a leaf key, not even one that it
has just made. Both share record keys, by which each knows the other's records.

Keys are known by their id and never by their content, so nothing here holds a secret. New seals use the one ACTIVE key of a
class, and new records the one ACTIVE record key; every key that is not RETIRED opens or verifies.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controlplane.core.errors import ConfigurationError
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme

_GENERATE = "`certplane keys generate --serve-dir DIR --worker-dir DIR`"


class Role(StrEnum):
    """The processes that hold keys. `up` is `serve` and `worker` on one machine, for a trial."""

    SERVE = "serve"
    WORKER = "worker"
    UP = "up"


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """What is known of a recipient key without its content. `create_time` is aware, in UTC."""

    key_id: str
    key_class: KeyClass
    scheme: Scheme
    phase: KeyPhase
    create_time: datetime


@dataclass(frozen=True, slots=True)
class RecordKey:
    """What is known of a record key without its content. `create_time` is aware, in UTC."""

    key_id: str
    phase: KeyPhase
    create_time: datetime


@dataclass(frozen=True, slots=True)
class KeyInventory:
    """All keys of one place. `location` is for error texts; `public` are the keys whose private half is not here."""

    location: str
    private: tuple[RecipientKey, ...] = ()
    public: tuple[RecipientKey, ...] = ()
    record: tuple[RecordKey, ...] = ()

    def private_classes(self) -> frozenset[KeyClass]:
        """Returns the classes of which a private key is here, whatever its phase: a retired key is as dangerous to leak."""
        return frozenset(key.key_class for key in self.private)

    def opening(self, key_class: KeyClass) -> tuple[RecipientKey, ...]:
        """Returns the private keys of a class that still open envelopes."""
        return tuple(key for key in self.private if key.key_class is key_class and key.phase is not KeyPhase.RETIRED)

    def active(self, key_class: KeyClass) -> tuple[RecipientKey, ...]:
        """Returns the keys of a class that new seals could use: one, in a sound inventory."""
        return tuple(key for key in (*self.private, *self.public) if key.key_class is key_class and key.phase is KeyPhase.ACTIVE)


def recipient_key_id(public_key: bytes) -> str:
    """Returns the id of a recipient key: the first 16 hexadecimal digits of SHA-256 over its public key as HPKE serialises it."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def sealing_key(inventory: KeyInventory, key_class: KeyClass) -> RecipientKey:
    """Returns the one ACTIVE key of a class.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    match inventory.active(key_class):
        case (key,):
            return key
        case ():
            raise ConfigurationError(
                f"{inventory.location} has no ACTIVE `{key_class}` recipient key to seal to: copy the public key file here,"
                f" or make keys for a new installation with {_GENERATE}"
            )
        case several:
            raise ConfigurationError(
                f"{inventory.location} has more than one ACTIVE `{key_class}` recipient key ({_ids(several)}):"
                " set `Phase: RETIRING` in all but the one that new seals shall use"
            )


def writing_record_key(inventory: KeyInventory) -> RecordKey:
    """Returns the one ACTIVE record key.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    active = tuple(key for key in inventory.record if key.phase is KeyPhase.ACTIVE)
    match active:
        case (key,):
            return key
        case ():
            raise ConfigurationError(
                f"{inventory.location} has no ACTIVE record key, so records could be neither written nor believed:"
                f" copy the record key file of the other role here, or make keys for a new installation with {_GENERATE}"
            )
        case several:
            raise ConfigurationError(
                f"{inventory.location} has more than one ACTIVE record key ({_ids(several)}):"
                " set `Phase: RETIRING` in all but the one that new records shall use"
            )


@dataclass(frozen=True, slots=True)
class _RoleRule:
    """By class: private keys that the role must not hold, private keys that it needs, and ACTIVE keys that it seals to."""

    must_not_hold: frozenset[KeyClass]
    must_open: frozenset[KeyClass]
    must_seal: frozenset[KeyClass]


_LEAF = frozenset({KeyClass.LEAF})
_ACCOUNT = frozenset({KeyClass.ACCOUNT})

_RULES: Mapping[Role, _RoleRule] = {
    Role.SERVE: _RoleRule(must_not_hold=_ACCOUNT, must_open=_LEAF, must_seal=frozenset()),
    Role.WORKER: _RoleRule(must_not_hold=_LEAF, must_open=_ACCOUNT, must_seal=_LEAF | _ACCOUNT),
    Role.UP: _RoleRule(must_not_hold=frozenset(), must_open=_LEAF | _ACCOUNT, must_seal=_LEAF | _ACCOUNT),
}

_OTHER_ROLE: Mapping[KeyClass, Role] = {KeyClass.LEAF: Role.SERVE, KeyClass.ACCOUNT: Role.WORKER}


def check_role(inventory: KeyInventory, role: Role) -> None:
    """Checks that a role holds all keys that it needs and none of the other's private keys.

    Raises:
        ConfigurationError: it does not; the text says which key and what to do.
    """
    rule = _RULES[role]
    for key in inventory.private:
        if key.key_class in rule.must_not_hold:
            owner = _OTHER_ROLE[key.key_class]
            raise ConfigurationError(
                f"{inventory.location} holds the private `{key.key_class}` key {key.key_id}, which `{role}` must never have:"
                f" move the file to the key directory of `{owner}`, and rotate the key if others could read it here"
            )
    for key_class in sorted(rule.must_open):
        if not inventory.opening(key_class):
            raise ConfigurationError(
                f"{inventory.location} has no private `{key_class}` key, which `{role}` needs to open what is sealed:"
                f" point `{role}` at its own key directory, or make keys for a new installation with {_GENERATE}"
            )
    for key_class in sorted(rule.must_seal):
        active = sealing_key(inventory, key_class)
        if key_class in rule.must_open and active not in inventory.private:
            raise ConfigurationError(
                f"{inventory.location} has only the public half of the ACTIVE `{key_class}` key {active.key_id}:"
                f" `{role}` could not open again what it seals; copy the private key file here"
            )
    writing_record_key(inventory)


def check_pair(serve: KeyInventory, worker: KeyInventory) -> None:
    """Checks that two inventories fit: `serve` opens what `worker` seals now, and each believes the other's new records.

    Raises:
        ConfigurationError: they do not; the text says which key is missing where.
    """
    sealed_to = sealing_key(worker, KeyClass.LEAF)
    if sealed_to.key_id not in {key.key_id for key in serve.opening(KeyClass.LEAF)}:
        raise ConfigurationError(
            f"{worker.location} seals to the `leaf` key {sealed_to.key_id}, whose private half is not in {serve.location}:"
            " copy the private key file there before it is ACTIVE for the worker"
        )
    for writer, reader in ((serve, worker), (worker, serve)):
        key = writing_record_key(writer)
        if key.key_id not in {known.key_id for known in reader.record if known.phase is not KeyPhase.RETIRED}:
            raise ConfigurationError(
                f"{writer.location} writes records under the record key {key.key_id}, which is not in {reader.location}:"
                " copy the record key file there"
            )


def _ids(keys: Iterable[RecipientKey | RecordKey]) -> str:
    return ", ".join(key.key_id for key in keys)
