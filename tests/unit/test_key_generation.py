"""Making keys: into new directories, with the right modes, all or nothing; and the commands that make and list them."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from controlplane.adapters import key_generation
from controlplane.adapters.exclusive_files import write_file
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.cli.keys import keys
from controlplane.core.errors import ConfigurationError
from controlplane.core.sealing import Scheme

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


class FullDisk:
    """Writes files like the real thing while there is room."""

    def __init__(self, room_for: int) -> None:
        self.room = room_for

    def __call__(self, path: Path, content: bytes, bits: int) -> None:
        """Writes, or fails as a full disk does."""
        if self.room == 0:
            raise ConfigurationError(f"cannot write {path}: No space left on device")
        self.room -= 1
        write_file(path, content, bits)


def installation(root: Path) -> tuple[Path, Path]:
    """Makes the key directories of a new installation."""
    generate_role_directories(root / "serve", root / "worker", KeyKind(Scheme.HPKE_X25519), NOW)
    return root / "serve", root / "worker"


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_files_have_their_modes_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Secret files are 0600, public ones 0644, the directories 0700."""
    before = os.umask(umask)
    try:
        serve, worker = installation(tmp_path)
    finally:
        os.umask(before)
    assert (0o700, 0o700) == (mode(serve), mode(worker))
    for path in (*serve.iterdir(), *worker.iterdir()):
        assert (0o644 if path.name.endswith(".public.pem") else 0o600) == mode(path), path.name


def test_an_existing_empty_directory_is_closed_to_others(tmp_path: Path) -> None:
    """A directory that an operator prepared is taken when it is empty, and becomes 0700."""
    (tmp_path / "serve").mkdir(mode=0o755)
    serve, _ = installation(tmp_path)
    assert mode(serve) == 0o700


def test_generate_overwrites_nothing(tmp_path: Path) -> None:
    """A directory with anything in it is refused, and nothing in either directory has changed."""
    serve, worker = installation(tmp_path)
    before = {path: path.read_bytes() for path in (*serve.iterdir(), *worker.iterdir())}
    with pytest.raises(ConfigurationError, match="is not empty, and nothing in it is overwritten"):
        generate_role_directories(tmp_path / "new", worker, KeyKind(Scheme.HPKE_X25519), NOW)
    assert before == {path: path.read_bytes() for path in (*serve.iterdir(), *worker.iterdir())}
    assert [] == list((tmp_path / "new").iterdir())


def test_generate_wants_two_directories(tmp_path: Path) -> None:
    """One directory for both roles would give each the other's private key."""
    with pytest.raises(ConfigurationError, match="a key directory each"):
        generate_role_directories(tmp_path / "keys", tmp_path / "x" / ".." / "keys", KeyKind(Scheme.HPKE_X25519), NOW)


def test_generate_makes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills at any file, the files before it are removed, so that the next attempt starts clean."""
    for failing in range(5):
        monkeypatch.setattr(key_generation, "write_file", FullDisk(room_for=failing))
        with pytest.raises(ConfigurationError, match="No space left"):
            generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(Scheme.HPKE_X25519), NOW)
        assert [] == [*(tmp_path / "serve").iterdir(), *(tmp_path / "worker").iterdir()]


def test_a_file_is_never_put_in_the_place_of_another(tmp_path: Path) -> None:
    """Writing to a name that is taken fails, leaves the old content, and leaves no draft behind."""
    path = tmp_path / "key.pem"
    write_file(path, b"old", 0o600)
    with pytest.raises(ConfigurationError, match="exists already"):
        write_file(path, b"new", 0o600)
    assert (b"old", [path]) == (path.read_bytes(), list(tmp_path.iterdir()))


@pytest.mark.parametrize(("name", "scheme"), [("hpke-x25519", Scheme.HPKE_X25519), ("hpke-mlkem768-x25519", Scheme.HPKE_MLKEM768_X25519)])
def test_the_command_makes_and_lists_keys(tmp_path: Path, name: str, scheme: Scheme) -> None:
    """`keys generate` makes both directories; `keys list` shows class, scheme, phase, id and time, and no key."""
    runner = CliRunner()
    directories = ["--serve-dir", str(tmp_path / "serve"), "--worker-dir", str(tmp_path / "worker")]
    made = runner.invoke(keys, ["generate", *directories, "--scheme", name])
    assert 0 == made.exit_code, made.output
    listed = runner.invoke(keys, ["list", str(tmp_path / "worker")])
    assert 0 == listed.exit_code, listed.output
    loaded = load_key_directory(tmp_path / "worker")
    (private,), (public,), (record,) = loaded.inventory.private, loaded.inventory.public, loaded.inventory.record
    lines = listed.output.splitlines()
    assert ["CLASS", "KIND", "SCHEME", "PHASE", "KEY", "ID", "CREATED", "FILE"] == lines[0].split()
    created = f"{private.create_time:%Y-%m-%dT%H:%M:%SZ}"
    assert [
        ["account", "private", scheme.name, "ACTIVE", private.key_id, created, f"account-{private.key_id}.private.pem"],
        ["leaf", "public", scheme.name, "ACTIVE", public.key_id, created, f"leaf-{public.key_id}.public.pem"],
        ["-", "record", "HMAC_SHA256", "ACTIVE", record.key_id, created, f"record-{record.key_id}.key.pem"],
    ] == [line.split() for line in lines[1:]]
    again = runner.invoke(keys, ["generate", *directories])
    assert 1 == again.exit_code
    assert "is not empty, and nothing in it is overwritten" in again.output


def test_the_command_takes_its_options_from_the_environment(tmp_path: Path) -> None:
    """Every option is also `CERTPLANE_<OPTION>`."""
    environment = {
        "CERTPLANE_SERVE_DIR": str(tmp_path / "serve"),
        "CERTPLANE_WORKER_DIR": str(tmp_path / "worker"),
        "CERTPLANE_SCHEME": "hpke-mlkem768-x25519",
    }
    made = CliRunner().invoke(keys, ["generate"], env=environment)
    assert 0 == made.exit_code, made.output
    assert Scheme.HPKE_MLKEM768_X25519 is load_key_directory(tmp_path / "serve").inventory.private[0].scheme


def test_the_command_tells_errors_in_one_line(tmp_path: Path) -> None:
    """A directory that is not there gives one line on standard error and exit status 1, no traceback."""
    listed = CliRunner().invoke(keys, ["list", str(tmp_path / "none")])
    assert (1, "") == (listed.exit_code, listed.stdout)
    assert 1 == len(listed.stderr.splitlines())
    assert listed.stderr.startswith("Error: cannot read the key directory")
