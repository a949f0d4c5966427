"""One WebSocket connection to the venue, made for throughput.

Frames go from the socket straight to `on_frame`, without the queue and the task switch of `recv()`. The price is that
back-pressure is ours: `pause` stops reading the socket, so the sender's TCP window closes and nothing is lost.

The library does the protocol: handshake, pings, fragments, size limit, close. Only whole unmasked text frames, which
is all that a feed sends between two pings, are cut out here: its general parser costs 5 of 11 microseconds a frame.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import State

log = logging.getLogger(__name__)

#: A frame above this ends the connection (close code 1009): it could not fit into a dead letter of 8 MiB as base64.
SOCKET_FRAME_BYTES_MAX = 5 << 20
OPEN_TIMEOUT_S = 4  # a handshake takes a second; a longer try sleeps through the venue's return (TCP asks at 1, 3, 7 s)
CLOSE_TIMEOUT_S = 2  # a venue that does not answer the close is left behind
COMMANDS_QUEUED_MAX = 1_000  # text frames of ours; the desk gives up the connection before

_FINAL_TEXT = 0x81  # the first byte of a whole text frame without extensions (RFC 6455 section 5.2)
_LENGTH_IN_2 = 126  # the second byte where the length stands in the next two; 127: eight; above: masked
_TEXT, _BINARY, _CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONT

#: (frame bytes, whether it was a text frame, receive time in ns since 1970)
OnFrame = Callable[[bytes, bool, int], None]


class FrameConnection(ClientConnection):
    """Hands every data frame to `on_frame`, in order, in the event loop's thread."""

    on_frame: OnFrame
    #: Called after each read of the socket; the place to say `pause`.
    after_read: Callable[["FrameConnection"], None]
    last_data_s: float = 0.0
    #: The first exception that `on_frame` raised: our own bug, for the owner of the connection to raise again.
    failure: BaseException | None = None
    is_paused = False
    _received_ns = 0
    _tail = b""  # the beginning of a text frame, below 64 KiB
    _parts: list[bytes] | None = None
    _parts_are_text = False

    def data_received(self, data: bytes) -> None:
        """One read of the socket: its frames share one receive time."""
        self.last_data_s = time.monotonic()
        self._received_ns = time.time_ns()
        if self._tail:
            data, self._tail = self._tail + data, b""
        if self._at_frame_start():
            data = self._cut_text_frames(data)
        if data:
            super().data_received(data)
        self.after_read(self)

    def _at_frame_start(self) -> bool:
        """The library is connected and waits for a new frame; nothing of an older one is in its hands."""
        protocol = self.protocol
        return (
            protocol.state is State.OPEN
            and self.response is not None
            and protocol.current_size is None
            and not protocol.reader.buffer
        )

    def _cut_text_frames(self, data: bytes) -> bytes:
        """Hand over all whole text frames at the front. Returns what the library must read, from a frame's start.

        The beginning of one more text frame is kept for the next read.
        """
        start, end = 0, len(data)
        try:
            while end - start >= 2 and data[start] == _FINAL_TEXT:
                length, body = data[start + 1], start + 2
                if length == _LENGTH_IN_2:
                    length, body = int.from_bytes(data[body : body + 2]), body + 2
                elif length > _LENGTH_IN_2:
                    break  # 64 KiB and more, or masked: rare or wrong
                if body + length > end:
                    self._tail = data[start:]
                    return b""
                self.on_frame(data[body : body + length], True, self._received_ns)
                start = body + length
        except Exception as bug:
            self._fail(bug)
            return b""
        return data[start:] if start else data

    def process_event(self, event: Any) -> None:
        """Called by the library for the handshake answer and for each frame."""
        if self.response is None or not isinstance(event, Frame):
            super().process_event(event)
            return
        opcode = event.opcode
        if (opcode is _TEXT or opcode is _BINARY) and event.fin:
            try:
                self.on_frame(bytes(event.data), opcode is _TEXT, self._received_ns)
            except Exception as bug:
                self._fail(bug)
        elif opcode is _TEXT or opcode is _BINARY:
            self._parts, self._parts_are_text = [bytes(event.data)], opcode is _TEXT
        elif opcode is _CONTINUATION and self._parts is not None:
            self._parts.append(bytes(event.data))
            if event.fin:
                whole, self._parts = b"".join(self._parts), None
                self.process_event(Frame(_TEXT if self._parts_are_text else _BINARY, whole))
        else:
            super().process_event(event)

    def pause(self) -> None:
        """Stop reading the socket. Pings go unanswered meanwhile; the venue may hang up, which is a disconnect."""
        if not self.is_paused and not self.transport.is_closing():
            self.is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.is_paused:
            self.is_paused = False
            self.last_data_s = time.monotonic()
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def silent_s(self) -> float:
        """How long nothing at all has come (the venue pings every 10 s); 0 while we do not read."""
        return 0.0 if self.is_paused else time.monotonic() - self.last_data_s

    def _fail(self, bug: Exception) -> None:
        self.failure = self.failure or bug
        self.transport.abort()


def _read_on(_connection: FrameConnection) -> None:
    pass


async def open_connection(
    url: str, headers: dict[str, str], on_frame: OnFrame, after_read: Callable[[FrameConnection], None] = _read_on
) -> FrameConnection:
    """Connect, with frames going to `on_frame` from the first one on.

    Raises:
        OSError, TimeoutError, websockets.WebSocketException: as the library does.
    """

    def build(*args: Any, **kwargs: Any) -> FrameConnection:
        connection = FrameConnection(*args, **kwargs)
        connection.on_frame = on_frame
        connection.after_read = after_read
        return connection

    connection = await connect(
        url,
        additional_headers=headers,
        create_connection=build,  # type: ignore[arg-type]  # a factory is all that the library calls
        compression=None,  # loopback and a datacentre link are faster than zlib
        max_size=SOCKET_FRAME_BYTES_MAX,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        ping_interval=None,  # the venue pings; our own silence watchdog covers the rest, and knows when we pause
        user_agent_header="kalshi-streams",
    )
    assert isinstance(connection, FrameConnection)
    connection.last_data_s = time.monotonic()
    return connection


class CommandSender:
    """Sends text frames in order from synchronous code."""

    def __init__(self, connection: FrameConnection) -> None:
        self._connection = connection
        self._queue: asyncio.Queue[str] = asyncio.Queue(COMMANDS_QUEUED_MAX)
        self._task = asyncio.create_task(self._send_for_ever(), name="venue-commands")

    def send(self, text: str) -> None:
        """Queue one frame. A full queue aborts the connection: the venue has stopped taking commands."""
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self._connection.transport.abort()

    async def stop(self) -> None:
        """What is still queued is not sent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _send_for_ever(self) -> None:
        while True:
            text = await self._queue.get()
            await self._connection.send(text)  # ends this task when closed; the feed notices the close itself
