from __future__ import annotations

from pathlib import Path

import pytest

from proxy.secret import SecretFault, node_secret


def test_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "node.secret"
    secret = node_secret(path)
    assert len(secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert node_secret(path) == secret
    assert [one.name for one in path.parent.iterdir()] == ["node.secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_others_may_not_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.secret"
    path.write_bytes(b"x" * 32)
    path.chmod(mode)
    with pytest.raises(SecretFault, match=f"mode {mode:04o}.*chmod 600"):
        node_secret(path)


def test_a_short_one_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "node.secret"
    path.write_bytes(b"x" * 31)
    path.chmod(0o600)
    with pytest.raises(SecretFault, match="31 octets are too few"):
        node_secret(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretFault, match=r"secret_file|cannot be read"):
        node_secret(tmp_path / "file" / "node.secret")
