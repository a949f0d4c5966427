"""Request signing, checked with the public half: PSS is randomised, there is no fixed vector."""

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from domain.errors import UserMistake
from venues.kalshi.auth import load_signer

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def _write(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> Path:
    lock: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    return path


def _verify(signature: str, message: str, salt: int = 32) -> None:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    KEY.public_key().verify(base64.b64decode(signature, validate=True), message.encode(), pss, hashes.SHA256())


@pytest.mark.parametrize(
    ("method", "url", "signed"),
    [
        ("GET", "wss://host/trade-api/ws/v2", "GET/trade-api/ws/v2"),
        ("get", "https://host:8443/trade-api/v2/markets?limit=5&cursor=x", "GET/trade-api/v2/markets"),
        ("POST", "/trade-api/v2/portfolio/orders", "POST/trade-api/v2/portfolio/orders"),
    ],
)
def test_the_signature_covers_time_method_and_path_without_query(
    tmp_path: Path, method: str, url: str, signed: str
) -> None:
    """The venue's check passes: PSS, SHA-256, salt 32."""
    headers = load_signer("key-1", _write(tmp_path / "k.pem", KEY)).headers(method, url, 1_700_000_000_123)

    assert headers["KALSHI-ACCESS-KEY"] == "key-1"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1700000000123"
    _verify(headers["KALSHI-ACCESS-SIGNATURE"], "1700000000123" + signed)


def test_another_salt_length_does_not_verify(tmp_path: Path) -> None:
    """The salt is exactly the digest's length, not the longest that fits."""
    headers = load_signer("k", _write(tmp_path / "k.pem", KEY)).headers("GET", "/a", 1)

    with pytest.raises(InvalidSignature):
        _verify(headers["KALSHI-ACCESS-SIGNATURE"], "1GET/a", salt=222)


def test_an_encrypted_key_opens_with_its_password(tmp_path: Path) -> None:
    """The password comes from a setting."""
    path = _write(tmp_path / "k.pem", KEY, b"open sesame")

    assert load_signer("k", path, "open sesame").headers("GET", "/a", 1)


def test_every_wrong_key_file_is_one_line_without_key_material(tmp_path: Path) -> None:
    """Missing, a folder, garbage, elliptic, encrypted without and with a wrong password, a password for a plain key."""
    pem = _write(tmp_path / "plain.pem", KEY)
    locked = _write(tmp_path / "locked.pem", KEY, b"open sesame")
    (tmp_path / "garbage.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nsecretsecret\n")
    cases = [
        (tmp_path / "missing.pem", None),
        (tmp_path, None),
        (tmp_path / "garbage.pem", None),
        (_write(tmp_path / "ec.pem", ec.generate_private_key(ec.SECP256R1())), None),
        (locked, None),
        (locked, "wrong word"),
        (pem, "unneeded"),
    ]
    for path, password in cases:
        with pytest.raises(UserMistake) as mistake:
            load_signer("k", path, password)

        text = str(mistake.value)
        assert str(path) in text
        assert "\n" not in text
        assert "secretsecret" not in text
        assert password is None or password not in text


def test_a_signer_does_not_print_its_key(tmp_path: Path) -> None:
    """repr goes into logs."""
    assert "key-1" not in repr(load_signer("key-1", _write(tmp_path / "k.pem", KEY)))
