"""A planted secret and a listening socket, for queries that try to reach them."""

import asyncio

SECRET = "canary-5b1f07-in-a-key-file"


class Trap:
    """A socket on loopback that counts whoever comes; use it as an async context."""

    def __init__(self) -> None:
        self.visits = 0

    async def __aenter__(self) -> "Trap":
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _visit(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()
