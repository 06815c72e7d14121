from __future__ import annotations

import base64
from pathlib import Path

import pytest

from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys

ONE, TWO = b"1" * 32, b"2" * 32


def test_a_blob_decrypts_for_its_purpose_only() -> None:
    encryption = EncryptionKeys([ONE])
    blob = encryption.encrypt(b"secret", "certificate:a:1")
    assert b"secret" not in blob
    assert blob != encryption.encrypt(b"secret", "certificate:a:1")
    assert encryption.decrypt(blob, "certificate:a:1") == b"secret"
    with pytest.raises(EncryptionError, match="changed"):
        encryption.decrypt(blob, "certificate:b:1")
    with pytest.raises(EncryptionError, match="changed"):
        encryption.decrypt(blob[:-1] + bytes([blob[-1] ^ 1]), "certificate:a:1")


def test_a_different_key_is_one_sentence() -> None:
    blob = EncryptionKeys([ONE]).encrypt(b"secret", "p")
    with pytest.raises(EncryptionError, match="another key"):
        EncryptionKeys([TWO]).decrypt(blob, "p")
    with pytest.raises(EncryptionError, match="another key"):
        EncryptionKeys([ONE]).decrypt(b"nonsense", "p")


def test_an_old_key_still_decrypts() -> None:
    blob = EncryptionKeys([ONE]).encrypt(b"secret", "p")
    rotated = EncryptionKeys([TWO, ONE])
    assert rotated.decrypt(blob, "p") == b"secret"
    with pytest.raises(EncryptionError):
        EncryptionKeys([ONE]).decrypt(rotated.encrypt(b"secret", "p"), "p")


def test_the_key_file_is_created_once_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    blob = EncryptionKeys.open_or_create(path, {}).encrypt(b"secret", "p")
    assert path.stat().st_mode & 0o777 == 0o600
    assert EncryptionKeys.open_or_create(path, {}).decrypt(blob, "p") == b"secret"
    assert [file.name for file in tmp_path.iterdir()] == ["seal.key"]


def test_the_environment_overrides_the_key_file(tmp_path: Path) -> None:
    environ = {VARIABLE: base64.b64encode(ONE).decode()}
    blob = EncryptionKeys.open_or_create(tmp_path / "none", environ).encrypt(b"secret", "p")
    assert EncryptionKeys([ONE]).decrypt(blob, "p") == b"secret"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["short", "", "====", base64.b64encode(b"x" * 31).decode()])
def test_a_malformed_key_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seal.key"
    path.write_text(text)
    with pytest.raises(EncryptionError, match="openssl rand"):
        EncryptionKeys.open_or_create(path, {})


def test_no_representation_shows_the_key() -> None:
    assert base64.b64encode(ONE).decode() not in repr(EncryptionKeys([ONE]))
    assert ONE.hex() not in repr(EncryptionKeys([ONE]))
