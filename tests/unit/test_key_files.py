"""Key directories: read, refused, and put to use by the two roles."""

import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.adapters.key_file_format import RecordKeyFile, parse_key_file
from controlplane.adapters.key_files import LoadedKeys, load_key_directory
from controlplane.adapters.key_generation import KeyKind, add_recipient_key, add_record_key, generate_role_directories
from controlplane.core.errors import ConfigurationError, SealingError
from controlplane.core.key_protection import Unlock
from controlplane.core.keyring import Role, check_pair, check_role
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme, SealContext

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LEAF = SealContext(KeyClass.LEAF, b"\x07" * 32, ("shop.example.com",))
ACCOUNT = SealContext(KeyClass.ACCOUNT, b"\x07" * 32, ("https://acme.example/directory",))
SECRET = SecretBytes(b"a secret")

schemes = pytest.mark.parametrize("scheme", Scheme, ids=lambda scheme: scheme.name)


def installation(root: Path, scheme: Scheme = Scheme.HPKE_X25519) -> tuple[Path, Path]:
    """Makes the key directories of a new installation."""
    generate_role_directories(root / "serve", root / "worker", KeyKind(scheme), NOW)
    return root / "serve", root / "worker"


def only(directory: Path, pattern: str) -> Path:
    """The one file of a directory that matches."""
    (path,) = directory.glob(pattern)
    return path


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Edits a file in place and leaves its mode."""
    text = path.read_text()
    changed = change(text)
    assert changed != text
    path.write_text(changed)


@schemes
def test_new_directories_suit_their_roles_and_each_other(tmp_path: Path, scheme: Scheme) -> None:
    """What `generate` makes lets both roles start, with keys that fit."""
    serve, worker = (load_key_directory(path) for path in installation(tmp_path, scheme))
    check_role(serve.inventory, Role.SERVE)
    check_role(worker.inventory, Role.WORKER)
    check_pair(serve.inventory, worker.inventory)
    assert (frozenset({KeyClass.LEAF}), frozenset({KeyClass.ACCOUNT})) == (serve.private_classes(), worker.private_classes())
    assert {scheme} == {key.scheme for keys in (serve, worker) for key in (*keys.inventory.private, *keys.inventory.public)}
    assert {NOW} == {key.create_time for key in (*serve.inventory.private, *serve.inventory.record)}


@schemes
def test_only_serve_opens_what_the_worker_seals(tmp_path: Path, scheme: Scheme) -> None:
    """A leaf key sealed by the worker opens in `serve` and not in the worker; an account key the other way round."""
    serve, worker = (load_key_directory(path) for path in installation(tmp_path, scheme))
    sealed_leaf, sealed_account = worker.sealer().seal(SECRET, LEAF), worker.sealer().seal(SECRET, ACCOUNT)
    assert SECRET.reveal() == serve.opener().open(sealed_leaf, LEAF).reveal()
    assert SECRET.reveal() == worker.opener().open(sealed_account, ACCOUNT).reveal()
    with pytest.raises(SealingError, match="not among the private keys"):
        worker.opener().open(sealed_leaf, LEAF)
    with pytest.raises(SealingError, match="not among the private keys"):
        serve.opener().open(sealed_account, ACCOUNT)


def test_the_opener_keeps_to_the_policy_it_is_given(tmp_path: Path) -> None:
    """A directory's opener refuses schemes outside the policy."""
    serve, worker = (load_key_directory(path) for path in installation(tmp_path))
    with pytest.raises(SealingError, match="policy"):
        serve.opener(frozenset({Scheme.HPKE_MLKEM768_X25519})).open(worker.sealer().seal(SECRET, LEAF), LEAF)


def test_each_role_believes_the_others_records(tmp_path: Path) -> None:
    """Both directories hold the same record key."""
    serve, worker = (load_key_directory(path).authenticator() for path in installation(tmp_path))
    assert b"payload" == serve.unwrap("token", "k", worker.wrap("token", "k", b"payload"))
    assert b"payload" == worker.unwrap("token", "k", serve.wrap("token", "k", b"payload"))


def test_a_role_refuses_the_directory_of_the_other(tmp_path: Path) -> None:
    """Directories that were exchanged stop both roles."""
    serve, worker = (load_key_directory(path) for path in installation(tmp_path))
    with pytest.raises(ConfigurationError, match=re.escape(f"{tmp_path}/worker holds the private `account` key")):
        check_role(worker.inventory, Role.SERVE)
    with pytest.raises(ConfigurationError, match=re.escape(f"{tmp_path}/serve holds the private `leaf` key")):
        check_role(serve.inventory, Role.WORKER)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o610, 0o644])
@pytest.mark.parametrize("pattern", ["*.private.pem", "record-*"])
def test_a_secret_file_that_others_can_get_at_is_refused(tmp_path: Path, pattern: str, bits: int) -> None:
    """A private or record key file with any bit for group or others stops the start; the text has the command that mends it."""
    serve, _ = installation(tmp_path)
    path = only(serve, pattern)
    path.chmod(bits)
    with pytest.raises(ConfigurationError, match=r"others than its owner.*chmod") as caught:
        load_key_directory(serve)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("bits", [0o600, 0o400])
def test_a_secret_file_for_its_owner_alone_is_taken(tmp_path: Path, bits: int) -> None:
    """0600 and 0400 are both right for a secret file."""
    serve, _ = installation(tmp_path)
    only(serve, "*.private.pem").chmod(bits)
    assert 2 == len(load_key_directory(serve).files)


@pytest.mark.parametrize("bits", [0o664, 0o646])
def test_a_public_key_that_others_can_change_is_refused(tmp_path: Path, bits: int) -> None:
    """Whoever can exchange the public key gets every later leaf key sealed to a key of their own."""
    _, worker = installation(tmp_path)
    only(worker, "*.public.pem").chmod(bits)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        load_key_directory(worker)


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    """Nobody else may add a key."""
    _, worker = installation(tmp_path)
    worker.chmod(0o770)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        load_key_directory(worker)


def test_hidden_entries_are_left_alone_and_links_are_followed(tmp_path: Path) -> None:
    """A mounted secret volume, with its dot directory and links into it, is read like plain files."""
    serve, _ = installation(tmp_path)
    hidden = serve / "..data"
    hidden.mkdir()
    for path in list(serve.glob("*.pem")):
        path.rename(hidden / path.name)
        path.symlink_to(hidden / path.name)
    check_role(load_key_directory(serve).inventory, Role.SERVE)


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    """A stray file, a directory, a pipe or a huge file is named, not skipped: it may be a key that somebody put aside."""
    serve, _ = installation(tmp_path)
    for make in (
        lambda path: path.write_text("notes"),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.write_bytes(b"# \n" * 40_000),
    ):
        stray = serve / "stray"
        make(stray)
        with pytest.raises(ConfigurationError, match=re.escape(str(stray))):
            load_key_directory(serve)
        stray.rmdir() if stray.is_dir() else stray.unlink()
    assert 2 == len(load_key_directory(serve).files)


def test_a_missing_or_empty_directory_is_refused(tmp_path: Path) -> None:
    """The text says whether the directory is missing, or has no keys and how to make them."""
    with pytest.raises(ConfigurationError, match=r"cannot read the key directory .*No such file"):
        load_key_directory(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="certplane keys generate"):
        load_key_directory(tmp_path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Two files of one key could disagree about its phase."""
    serve, _ = installation(tmp_path)
    path = only(serve, "*.private.pem")
    copy = serve / "copy.pem"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    with pytest.raises(ConfigurationError, match="hold the same key"):
        load_key_directory(serve)


DAMAGES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "id of another key": ("*.private.pem", lambda t: re.sub(r"Key-Id: \w+", "Key-Id: 0123456789abcdef", t), "not the id of its key"),
    "record id of another key": ("record-*", lambda t: re.sub(r"Key-Id: \w+", "Key-Id: 0123456789abcdef", t), "not the id of its key"),
    "other scheme": ("*.private.pem", lambda t: t.replace("HPKE_X25519", "HPKE_MLKEM768_X25519"), "its key is for HPKE_X25519"),
    "unknown scheme": ("*.private.pem", lambda t: t.replace("HPKE_X25519", "ROT13"), "`Scheme:` line with a value that is not known"),
    "unknown class": ("*.private.pem", lambda t: t.replace("Class: leaf", "Class: root"), "`Class:` line with a value that is not known"),
    "unknown phase": ("*.private.pem", lambda t: t.replace("ACTIVE", "active"), "`Phase:` line with a value that is not known"),
    "unknown kind": ("*.private.pem", lambda t: t.replace("Kind: private", "Kind: secret"), "`Kind:` line with a value that is not known"),
    "time without zone": ("*.private.pem", lambda t: t.replace(":00Z", ":00"), "`Created:` line with a value that is not known"),
    "no time": ("*.private.pem", lambda t: re.sub(r"Created: .*", "Created: yesterday", t), "`Created:` line with a value"),
    "missing header": ("*.private.pem", lambda t: t.replace("Phase: ACTIVE\n", ""), "no `Phase:` line"),
    "header twice": ("*.private.pem", lambda t: t.replace("Phase: ACTIVE\n", "Phase: ACTIVE\nPhase: RETIRED\n"), "there twice"),
    "garbage above": ("*.private.pem", lambda t: "hello world\n" + t, "no header"),
    "garbage below": ("*.private.pem", lambda t: t + "hello\n", "something else stands below"),
    "no block": ("*.private.pem", lambda t: t.partition("-----BEGIN")[0], "no key in it"),
    "half a block": ("*.private.pem", lambda t: t.partition("-----END")[0], "not whole"),
    "damaged body": ("*.private.pem", lambda t: t.replace("MC4CAQ", "MC4CAA"), "PRIVATE KEY block that is damaged"),
    "two keys": ("*.private.pem", lambda t: t + t[t.index("-----BEGIN") :], "are no recipient key"),
    "kind public": ("*.private.pem", lambda t: t.replace("Kind: private", "Kind: public"), "block that is not a PUBLIC KEY"),
    "record key cut": ("record-*", lambda t: re.sub(r"KEY-----\n....", "KEY-----\n", t, count=1), "one record key of 32 bytes"),
    "record key not base64": ("record-*", lambda t: re.sub(r"KEY-----\n....", "KEY-----\n!!!!", t, count=1), "not one block of base64"),
    "record key twice": ("record-*", lambda t: t + t[t.index("-----BEGIN") :], "damaged"),
}


@pytest.mark.parametrize(("pattern", "change", "says"), DAMAGES.values(), ids=DAMAGES)
def test_an_unsound_file_is_refused(tmp_path: Path, pattern: str, change: Callable[[str], str], says: str) -> None:
    """A file whose parts do not fit is refused with its path and what is wrong, and nothing of the key is in the error."""
    serve, _ = installation(tmp_path)
    path = only(serve, pattern)
    body = path.read_text().rpartition("KEY-----\n")[0].splitlines()[-2]
    edit(path, change)
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_key_directory(serve)
    assert str(path) in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(body[start : start + 12] in str(error) for start in range(len(body) - 11))
        assert error.__cause__ is not None or error.__suppress_context__ or error.__context__ is None
        error = error.__cause__


def test_line_ends_of_another_system_do_no_harm(tmp_path: Path) -> None:
    """A file that passed through a tool that writes CR LF still loads."""
    serve, _ = installation(tmp_path)
    for path in serve.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    check_role(load_key_directory(serve).inventory, Role.SERVE)


@schemes
def test_a_prepared_key_opens_before_anything_is_sealed_to_it(tmp_path: Path, scheme: Scheme) -> None:
    """A key added as PREPARED changes no seal; once the operator makes it ACTIVE, what is sealed to it opens at once."""
    serve_dir, worker_dir = installation(tmp_path)
    (private, public) = add_recipient_key(KeyClass.LEAF, KeyKind(scheme), NOW, private_dir=serve_dir, public_dir=worker_dir)
    serve, worker = load_key_directory(serve_dir), load_key_directory(worker_dir)
    check_role(worker.inventory, Role.WORKER)
    old = worker.sealer().seal(SECRET, LEAF)
    assert old.recipient_key_id not in private.name

    for path in worker_dir.glob("leaf-*"):
        edit(path, lambda text: text.replace("Phase: ACTIVE", "Phase: RETIRING").replace("Phase: PREPARED", "Phase: ACTIVE"))
    new = load_key_directory(worker_dir).sealer().seal(SECRET, LEAF)
    assert (f"leaf-{new.recipient_key_id}.public.pem", scheme) == (public.name, new.scheme)
    assert (SECRET.reveal(), SECRET.reveal()) == (serve.opener().open(old, LEAF).reveal(), serve.opener().open(new, LEAF).reveal())


def test_a_prepared_record_key_verifies_before_anything_is_written_with_it(tmp_path: Path) -> None:
    """A record key added to both directories is known to both, and the ACTIVE one still writes."""
    serve_dir, worker_dir = installation(tmp_path)
    before = load_key_directory(serve_dir).authenticator()
    (added, _) = add_record_key((serve_dir, worker_dir), NOW)
    serve = load_key_directory(serve_dir)
    assert b"payload" == before.unwrap("token", "k", serve.authenticator().wrap("token", "k", b"payload"))

    for path in worker_dir.glob("record-*"):
        edit(path, lambda text: text.replace("Phase: ACTIVE", "Phase: RETIRING").replace("Phase: PREPARED", "Phase: ACTIVE"))
    written = load_key_directory(worker_dir).authenticator().wrap("token", "k", b"payload")
    assert b"payload" == serve.authenticator().unwrap("token", "k", written)
    assert mode(added) == 0o600


def test_a_retired_key_opens_no_more(tmp_path: Path) -> None:
    """RETIRED takes a key out of use while its file is still there."""
    serve_dir, worker_dir = installation(tmp_path)
    sealed = load_key_directory(worker_dir).sealer().seal(SECRET, LEAF)
    edit(only(serve_dir, "leaf-*"), lambda text: text.replace("Phase: ACTIVE", "Phase: RETIRED"))
    with pytest.raises(SealingError, match="not among the private keys"):
        load_key_directory(serve_dir).opener().open(sealed, LEAF)


def test_two_active_keys_make_no_sealer(tmp_path: Path) -> None:
    """It is never left to chance which key new seals use."""
    serve_dir, worker_dir = installation(tmp_path)
    add_recipient_key(KeyClass.LEAF, KeyKind(Scheme.HPKE_X25519), NOW, private_dir=serve_dir, public_dir=worker_dir, phase=KeyPhase.ACTIVE)
    with pytest.raises(ConfigurationError, match="more than one ACTIVE `leaf`"):
        load_key_directory(worker_dir).sealer()


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    """Neither the loaded directory nor a part of it has key material in its repr."""
    serve_dir, worker_dir = installation(tmp_path, Scheme.HPKE_MLKEM768_X25519)
    for directory in (serve_dir, worker_dir):
        loaded = load_key_directory(directory)
        assert isinstance(loaded, LoadedKeys)
        shown = [repr(part) for part in (loaded, loaded.files, loaded.sealer(), loaded.opener(), loaded.authenticator(), loaded.inventory)]
        for path, file in loaded.files:
            shown += [repr(file), repr(file.key), repr(file.content())]
            secret = file.key.reveal() if isinstance(file, RecordKeyFile) else b""
            body = [line for line in path.read_text().splitlines() if len(line) > 40 and line[0] not in "#-"]
            assert body
            assert not any(line in text for line in body for text in shown)
            assert not secret or not any(repr(secret)[2:-1] in text or secret.hex() in text for text in shown)


def test_a_text_that_is_no_key_file_is_refused() -> None:
    """Bytes that are no text at all are refused like any other file that is none."""
    with pytest.raises(ValueError, match="is not a Certplane key file"):
        parse_key_file(SecretBytes(bytes(range(256))))


def test_a_passphrase_protects_private_keys(tmp_path: Path) -> None:
    """Private recipient keys made with a passphrase are PKCS#8 encrypted, and open what is sealed to them once it is given."""
    unlock = Unlock(SecretBytes(b"correct horse"))
    generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(Scheme.HPKE_MLKEM768_X25519), NOW, unlock)
    assert "BEGIN ENCRYPTED PRIVATE KEY" in only(tmp_path / "serve", "*.private.pem").read_text()
    sealed = load_key_directory(tmp_path / "worker", unlock).sealer().seal(SECRET, LEAF)
    assert SECRET.reveal() == load_key_directory(tmp_path / "serve", unlock).opener().open(sealed, LEAF).reveal()


@pytest.mark.parametrize(
    ("passphrase", "says"), [(None, "is encrypted: give its passphrase"), (b"battery staple", "encrypted with another passphrase")]
)
def test_a_key_does_not_load_without_its_passphrase(tmp_path: Path, passphrase: bytes | None, says: str) -> None:
    """No passphrase and a wrong one are told apart, and neither is repeated."""
    generate_role_directories(
        tmp_path / "serve", tmp_path / "worker", KeyKind(Scheme.HPKE_X25519), NOW, Unlock(SecretBytes(b"correct horse"))
    )
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_key_directory(tmp_path / "serve", Unlock(None if passphrase is None else SecretBytes(passphrase)))
    assert "staple" not in str(caught.value)


def test_a_passphrase_does_no_harm_to_plain_keys(tmp_path: Path) -> None:
    """A directory with unencrypted keys loads although a passphrase is given: keys are exchanged one by one."""
    serve, _ = installation(tmp_path)
    assert {KeyClass.LEAF} == load_key_directory(serve, Unlock(SecretBytes(b"correct horse"))).private_classes()
