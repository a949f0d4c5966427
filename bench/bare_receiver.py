"""`python -m bench.bare_receiver WS_URL SECONDS TICKER,TICKER..`: how fast `websockets` alone takes the same frames.

Subscribes to what our producer subscribes to, then only receives and counts. Prints one JSON object: frames, seconds,
CPU seconds of this process.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect

MARKETS_PER_SUBSCRIPTION = 50
WARM_UP_S = 2.0
FRAME_BYTES_MAX = 4 << 20


async def receive(url: str, seconds: float, tickers: list[str]) -> dict[str, float]:
    """Frames received in `seconds`, after a warm-up."""
    async with connect(url, max_size=FRAME_BYTES_MAX, compression=None) as socket:
        groups = [tickers[i : i + MARKETS_PER_SUBSCRIPTION] for i in range(0, len(tickers), MARKETS_PER_SUBSCRIPTION)]
        for number, group in enumerate(groups, start=1):
            params = {"channels": ["orderbook_delta", "trade"], "market_tickers": group}
            await socket.send(json.dumps({"id": number, "cmd": "subscribe", "params": params}))
        warm = time.monotonic() + WARM_UP_S
        while time.monotonic() < warm:
            await socket.recv()
        frames, began, cpu = 0, time.monotonic(), time.process_time()
        while time.monotonic() - began < seconds:
            await socket.recv()
            frames += 1
        return {"frames": frames, "seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(receive(sys.argv[1], float(sys.argv[2]), sys.argv[3].split(",")))))
