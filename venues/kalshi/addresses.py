"""Where the venue is and who we are there. Addresses are configuration: no other code depends on a host."""

from dataclasses import dataclass
from pathlib import Path

from domain.errors import UserMistake
from venues.kalshi.auth import RequestSigner, load_signer

WS_URLS = {
    "prod": "wss://api.elections.kalshi.com/trade-api/ws/v2",
    "demo": "wss://demo-api.kalshi.co/trade-api/ws/v2",
    "sim": "ws://127.0.0.1:6071/trade-api/ws/v2",
}
REST_URLS = {
    "prod": "https://api.elections.kalshi.com/trade-api/v2",
    "demo": "https://demo-api.kalshi.co/trade-api/v2",
    "sim": "http://127.0.0.1:6071/trade-api/v2",
}


@dataclass(frozen=True, slots=True)
class KeySettings:
    """A key id and its file, as the settings name them. `prefix` is the setting's (PROD, DEMO, SIM)."""

    prefix: str
    key_id: str | None
    key_file: Path | None
    password: str | None = None


def signer_for(keys: KeySettings, *, required: bool) -> RequestSigner | None:
    """The signer of this environment; None where neither id nor file is set and none is required.

    Raises:
        UserMistake: one of the two is missing, or the file is not a readable RSA key.
    """
    if keys.key_id and keys.key_file:
        return load_signer(keys.key_id, keys.key_file, keys.password)
    missing = [
        name
        for name, value in ((f"{keys.prefix}_KEYID", keys.key_id), (f"{keys.prefix}_KEYFILE", keys.key_file))
        if not value
    ]
    if required or len(missing) == 1:
        raise UserMistake(f"{' and '.join(missing)}: expected the venue's API key, was not set")
    return None
