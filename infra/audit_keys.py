"""The key that signs checkpoints of the hash chain, and the keys that they are checked with (contract config.md).

Ed25519, in PEM files. The signing key belongs to the relay alone; who checks needs the public one. A key is known by
its id: the first 16 hexadecimal digits of the SHA-256 of its 32 public bytes.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.settings import Settings

DEFAULT_PATH: Path = Settings.model_fields["audit_signing_key"].default
PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class AuditKeyError(Exception):
    """A key cannot be used. One line that says why."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    id: str
    key: Ed25519PublicKey

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> "PublicKey":
        return cls(hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16], key)

    @property
    def pem(self) -> str:
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(encoding, form).decode()

    def signed(self, content: bytes, signature: bytes) -> bool:
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    key: Ed25519PrivateKey
    public: PublicKey

    @classmethod
    def of(cls, key: Ed25519PrivateKey) -> "SigningKey":
        return cls(key, PublicKey.of(key.public_key()))

    @classmethod
    def new(cls) -> "SigningKey":
        return cls.of(Ed25519PrivateKey.generate())

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content)


def signing_key(path: Path) -> SigningKey:
    """Made on first use at the default path; a file that AUDIT_SIGNING_KEY names must be there.

    Raises AuditKeyError.
    """
    if path == DEFAULT_PATH and not path.exists():
        _make(path)
    content = _read(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditKeyError(f"{path} is no Ed25519 key in PEM, without a password (AUDIT_SIGNING_KEY)")
    return SigningKey.of(key)


def public_keys(path: Path) -> Iterable[PublicKey]:
    """Those in a PEM file, one or, after a change of keys, several. Raises AuditKeyError."""
    found = []
    for block in PEM.findall(_read(path)):
        try:
            key = serialization.load_pem_public_key(block)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise AuditKeyError(f"{path} holds a key that is not Ed25519")
        found.append(PublicKey.of(key))
    if not found:
        raise AuditKeyError(f"{path} holds no public key in PEM")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditKeyError(f"{path} cannot be read: {error.strerror}") from None


def _make(path: Path) -> None:
    """A whole file or none, and never in place of one that another process has made meanwhile."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    content = Ed25519PrivateKey.generate().private_bytes(encoding, form, serialization.NoEncryption())
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    except OSError as error:
        raise AuditKeyError(f"{path} cannot be made: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
