"""`python -m bench.bare_sender BROKER TOPIC RATE`: aiokafka at a steady rate until SIGTERM, settings as our producer's.

Each value starts with its send time in ns (19 digits) and is as long as a delta record.
"""

import asyncio
import signal
import sys
import time

from aiokafka import AIOKafkaProducer

VALUE_BYTES = 345
KEYS = 500
TICK_S = 0.001  # as the simulator's


async def send(broker: str, topic: str, rate: int) -> None:
    """Until told to stop. Behind its schedule by more than a second it takes up the rate again from now."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, compression_type="lz4", linger_ms=0)
    await producer.start()
    filler = b"x" * (VALUE_BYTES - 19)
    began, sent = time.monotonic(), 0
    while not stop.is_set():
        due = int((time.monotonic() - began) * rate)
        if due - sent > rate:
            began, sent = time.monotonic(), 0
            continue
        while sent < due:
            await producer.send(topic, b"%d" % time.time_ns() + filler, key=b"market-%d" % (sent % KEYS))
            sent += 1
        await asyncio.sleep(TICK_S)
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], sys.argv[2], int(sys.argv[3])))
