"""One GET of a JSON page on loopback, for the commands. No answer is an answer too: None."""

from typing import Any


class Pages:
    """A small HTTP client; use it as an async context."""

    async def __aenter__(self) -> "Pages":
        import aiohttp

        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3.0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> tuple[int, dict[str, Any]] | None:
        """(status, object), or None when nobody answers, too late, or something that is no JSON object."""
        try:
            async with self._session.get(url) as answer:
                body = await answer.json(content_type=None)
                return answer.status, body if isinstance(body, dict) else {}
        except (OSError, ValueError, TimeoutError):
            return None
        except Exception as wrong:
            # aiohttp's own tree: a connection cut by a component that is just being restarted.
            if type(wrong).__module__.startswith("aiohttp"):
                return None
            raise
