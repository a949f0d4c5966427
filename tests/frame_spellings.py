"""How the venue writes prices, counts and deltas; for tests of the readers."""

import json
from typing import Any

from hypothesis import strategies as st

from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import Frame

PRICES = st.integers(1, 9_999)
SIZES = st.integers(0, 10**9)


def parse(frame: dict[str, Any] | bytes) -> Frame:
    """What the producer's parser says of it."""
    return FrameParser().parse(frame if isinstance(frame, bytes) else json.dumps(frame).encode())


def price_text(price_e4: int) -> str:
    """Four decimals."""
    return f"{price_e4 // 10_000}.{price_e4 % 10_000:04d}"


def size_text(size_e2: int) -> str:
    """Two decimals."""
    return f"{'-' if size_e2 < 0 else ''}{abs(size_e2) // 100}.{abs(size_e2) % 100:02d}"


def delta(**msg: Any) -> dict[str, Any]:
    """A change of KX-A, sid 2, seq 3."""
    base = {"market_ticker": "KX-A", "market_id": "u-1", "side": "yes"}
    return {"type": "orderbook_delta", "sid": 2, "seq": 3, "msg": {**base, **msg}}
