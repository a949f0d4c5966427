"""RSA-PSS request signing, as the venue wants it.

Signed bytes: timestamp in ms + METHOD + path without query; PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes.
Key material and signatures never stand in an error or a log line.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from domain.errors import UserMistake

_PADDING = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
_DIGEST = hashes.SHA256()


@dataclass(frozen=True, slots=True, repr=False)
class RequestSigner:
    """Signs for one key id. Make headers anew for every request and every connect: the venue refuses old timestamps."""

    key_id: str
    private_key: RSAPrivateKey

    def headers(self, method: str, url_or_path: str, now_ms: int) -> dict[str, str]:
        """The three access headers for one request. Query and fragment are left out of the signature."""
        path = urlsplit(url_or_path).path
        message = f"{now_ms}{method.upper()}{path}".encode()
        signature = self.private_key.sign(message, _PADDING, _DIGEST)
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode("ascii"),
        }


def load_signer(key_id: str, key_file: Path, password: str | None = None) -> RequestSigner:
    """The signer for a PEM file.

    Raises:
        UserMistake: one line that names the file and what is wrong with it, never its content.
    """
    try:
        pem = key_file.read_bytes()
    except OSError as wrong:
        raise UserMistake(f"key file {key_file}: {wrong.strerror}") from None
    try:
        key = load_pem_private_key(pem, password.encode() if password else None)
    except TypeError:
        need = "it has none, remove the password" if password else "it is encrypted, set the key file's password"
        raise UserMistake(f"key file {key_file}: {need}") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "or the password is wrong" if password else "expected an unencrypted or encrypted PEM private key"
        raise UserMistake(f"key file {key_file}: not a readable private key ({hint})") from None
    if not isinstance(key, RSAPrivateKey):
        raise UserMistake(f"key file {key_file}: expected an RSA key, was another kind")
    return RequestSigner(key_id, key)
