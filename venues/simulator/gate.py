"""Who may come in: the venue's request signature.

Signed are timestamp + METHOD + path without the query; RSA-PSS, SHA-256, salt of 32 bytes.
"""

import base64
import binascii
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from domain.errors import UserMistake
from venues.simulator.config import SimConfig

KEY_HEADER = "KALSHI-ACCESS-KEY"
TIME_HEADER = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"


class Gate:
    """Checks signatures against one public key; without a key everybody may come in."""

    def __init__(self, config: SimConfig) -> None:
        self._key = _load(config.public_key) if config.public_key is not None else None
        self._key_id = config.key_id
        self._skew_ms = config.clock_skew_s * 1_000
        self.refused = 0

    def refusal(self, headers: Mapping[str, str], method: str, path: str) -> str | None:
        """None if the request may pass, else what is wrong with it."""
        reason = self._refusal(headers, method, path) if self._key is not None else None
        self.refused += reason is not None
        return reason

    def _refusal(self, headers: Mapping[str, str], method: str, path: str) -> str | None:
        key_id, stamp, signature = (headers.get(name) for name in (KEY_HEADER, TIME_HEADER, SIGNATURE_HEADER))
        if not key_id or not stamp or not signature:
            return "missing authentication headers"
        if self._key_id is not None and key_id != self._key_id:
            return "unknown API key"
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
            return "timestamp is not in milliseconds"
        if abs(int(stamp) - time.time_ns() // 1_000_000) > self._skew_ms:
            return "timestamp out of range"
        assert self._key is not None
        try:
            self._key.verify(
                base64.b64decode(signature, validate=True),
                f"{stamp}{method}{path}".encode(),
                padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH),
                hashes.SHA256(),
            )
        except (InvalidSignature, binascii.Error, ValueError):
            return "incorrect signature"
        return None


def _load(path: Path) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as wrong:
        raise UserMistake(f"public key {path}: {wrong.strerror}") from None
    except ValueError:
        raise UserMistake(f"public key {path}: not a PEM public key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise UserMistake(f"public key {path}: not an RSA key")
    return key
