"""The key that signs checkpoints, made on first use; and the keys that they are checked with."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from infra.audit_keys import DEFAULT_PATH, AuditKeyError, SigningKey, public_keys, signing_key
from tests.evidence import KEY, SIGNING_KEY


def test_a_key_is_made_once_at_the_default_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = signing_key(DEFAULT_PATH)
    assert signing_key(DEFAULT_PATH).public.id == made.public.id
    assert DEFAULT_PATH.stat().st_mode & 0o777 == 0o600
    assert list(DEFAULT_PATH.parent.iterdir()) == [DEFAULT_PATH]


def test_a_key_that_is_named_must_be_there(tmp_path: Path) -> None:
    """A mount that is missing must not end in a key that is gone with the container."""
    with pytest.raises(AuditKeyError, match="cannot be read: No such file"):
        signing_key(tmp_path / "key.pem")
    assert list(tmp_path.iterdir()) == []


def test_what_it_signs_is_checked_with_its_public_half(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(SIGNING_KEY)
    key = signing_key(tmp_path / "key.pem")
    (tmp_path / "public.pem").write_text(f"# of the relay\n{key.public.pem}\n{SigningKey.new().public.pem}")
    first, second = public_keys(tmp_path / "public.pem")
    assert first.id == key.public.id == KEY.public.id
    assert first.signed(b"text", key.sign(b"text"))
    assert not first.signed(b"texts", key.sign(b"text"))
    assert not second.signed(b"text", key.sign(b"text"))


RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        KEY.public.pem.encode(),
        KEY.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
        RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
)
def test_anything_else_signs_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(AuditKeyError, match="no Ed25519 key in PEM"):
        signing_key(tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"nonsense", "holds no public key in PEM"),
        (SIGNING_KEY.encode(), "holds no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "that is not Ed25519"),
        (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "that is not Ed25519"),
    ],
)
def test_and_checks_nothing(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "public.pem").write_bytes(content)
    with pytest.raises(AuditKeyError, match=problem):
        public_keys(tmp_path / "public.pem")
