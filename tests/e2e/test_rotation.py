"""The leaf key of a running installation is rotated, and nobody who visits notices."""

from pathlib import Path

from bench.rotation import rotate

DOMAINS = 60


async def test_a_rotation_under_traffic(tmp_path: Path) -> None:
    """No handshake fails, nothing is pushed, the old key's files go, and a new `serve` opens everything for a new Envoy.

    Meanwhile a quarter of the names is asked for the first time, a domain is issued, and another renewed.
    """
    found = await rotate(tmp_path, DOMAINS, 500.0)
    assert ([], 0, 0, []) == (found.failures, found.pushed, found.left, found.old_files)
    # The domain that was renewed may have been sealed to the new key by then; its certificate before that never is.
    assert found.resealed >= DOMAINS
    assert DOMAINS + 1 == found.opened_after
    assert found.handshakes > 10 * DOMAINS
