from __future__ import annotations

import base64
from pathlib import Path

import pytest

from certferry.runtime.encryption import VARIABLE, EncryptionError, EncryptionKeys

ONE, TWO = b"1" * 32, b"2" * 32


def test_what_is_sealed_opens_for_its_purpose_alone() -> None:
    seal = EncryptionKeys([ONE])
    blob = seal.encrypt(b"secret", "certificate:a:1")
    assert b"secret" not in blob
    assert blob != seal.encrypt(b"secret", "certificate:a:1")
    assert seal.decrypt(blob, "certificate:a:1") == b"secret"
    with pytest.raises(EncryptionError, match="changed"):
        seal.decrypt(blob, "certificate:b:1")
    with pytest.raises(EncryptionError, match="changed"):
        seal.decrypt(blob[:-1] + bytes([blob[-1] ^ 1]), "certificate:a:1")


def test_another_key_says_so() -> None:
    blob = EncryptionKeys([ONE]).encrypt(b"secret", "p")
    with pytest.raises(EncryptionError, match="another key"):
        EncryptionKeys([TWO]).decrypt(blob, "p")
    with pytest.raises(EncryptionError, match="another key"):
        EncryptionKeys([ONE]).decrypt(b"nonsense", "p")


def test_an_old_key_goes_on_opening() -> None:
    blob = EncryptionKeys([ONE]).encrypt(b"secret", "p")
    rotated = EncryptionKeys([TWO, ONE])
    assert rotated.decrypt(blob, "p") == b"secret"
    with pytest.raises(EncryptionError):
        EncryptionKeys([ONE]).decrypt(rotated.encrypt(b"secret", "p"), "p")


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    blob = EncryptionKeys.open_or_create(path, {}).encrypt(b"secret", "p")
    assert path.stat().st_mode & 0o777 == 0o600
    assert EncryptionKeys.open_or_create(path, {}).decrypt(blob, "p") == b"secret"
    assert [file.name for file in tmp_path.iterdir()] == ["seal.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    environ = {VARIABLE: base64.b64encode(ONE).decode()}
    blob = EncryptionKeys.open_or_create(tmp_path / "none", environ).encrypt(b"secret", "p")
    assert EncryptionKeys([ONE]).decrypt(blob, "p") == b"secret"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["short", "", "====", base64.b64encode(b"x" * 31).decode()])
def test_a_damaged_key_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seal.key"
    path.write_text(text)
    with pytest.raises(EncryptionError, match="openssl rand"):
        EncryptionKeys.open_or_create(path, {})


def test_nothing_prints_the_key() -> None:
    assert base64.b64encode(ONE).decode() not in repr(EncryptionKeys([ONE]))
    assert ONE.hex() not in repr(EncryptionKeys([ONE]))
