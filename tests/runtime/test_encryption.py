from __future__ import annotations

import base64
from pathlib import Path

import pytest

from certferry.runtime.encryption import VARIABLE, Seal, SealError

ONE, TWO = b"1" * 32, b"2" * 32


def test_what_is_sealed_opens_for_its_purpose_alone() -> None:
    seal = Seal([ONE])
    blob = seal.seal(b"secret", "certificate:a:1")
    assert b"secret" not in blob
    assert blob != seal.seal(b"secret", "certificate:a:1")
    assert seal.unseal(blob, "certificate:a:1") == b"secret"
    with pytest.raises(SealError, match="changed"):
        seal.unseal(blob, "certificate:b:1")
    with pytest.raises(SealError, match="changed"):
        seal.unseal(blob[:-1] + bytes([blob[-1] ^ 1]), "certificate:a:1")


def test_another_key_says_so() -> None:
    blob = Seal([ONE]).seal(b"secret", "p")
    with pytest.raises(SealError, match="another key"):
        Seal([TWO]).unseal(blob, "p")
    with pytest.raises(SealError, match="another key"):
        Seal([ONE]).unseal(b"nonsense", "p")


def test_an_old_key_goes_on_opening() -> None:
    blob = Seal([ONE]).seal(b"secret", "p")
    rotated = Seal([TWO, ONE])
    assert rotated.unseal(blob, "p") == b"secret"
    with pytest.raises(SealError):
        Seal([ONE]).unseal(rotated.seal(b"secret", "p"), "p")


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    blob = Seal.open_or_create(path, {}).seal(b"secret", "p")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Seal.open_or_create(path, {}).unseal(blob, "p") == b"secret"
    assert [file.name for file in tmp_path.iterdir()] == ["seal.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    environ = {VARIABLE: base64.b64encode(ONE).decode()}
    blob = Seal.open_or_create(tmp_path / "none", environ).seal(b"secret", "p")
    assert Seal([ONE]).unseal(blob, "p") == b"secret"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["short", "", "====", base64.b64encode(b"x" * 31).decode()])
def test_a_damaged_key_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seal.key"
    path.write_text(text)
    with pytest.raises(SealError, match="openssl rand"):
        Seal.open_or_create(path, {})


def test_nothing_prints_the_key() -> None:
    assert base64.b64encode(ONE).decode() not in repr(Seal([ONE]))
    assert ONE.hex() not in repr(Seal([ONE]))
