"""Running an SDK's script in its environment, and talking with one that listens."""

import asyncio
import json
from pathlib import Path
from typing import Any

from conformance.python import PROJECT

CALLS_S = 120.0  # for all calls of an SDK
ANSWER_S = 60.0  # for one answer of the listener
LINE_BYTES_MAX = 16 << 20  # its report holds the models


class SdkFailed(Exception):
    """A script ended without its report; the text has the end of what it said."""


async def run_calls(python: Path, module: str, *arguments: str) -> dict[str, Any]:
    """The report of a script that makes its calls and ends. Raises SdkFailed."""
    process = await _start(python, module, *arguments)
    try:
        out, err = await asyncio.wait_for(process.communicate(), CALLS_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SdkFailed(f"{module}: no report in {CALLS_S:.0f} s") from None
    if process.returncode or not out.strip():
        raise SdkFailed(f"{module} ended with {process.returncode}: {err.decode(errors='replace').strip()[-800:]}")
    return _decoded(out.splitlines()[-1])


class Listening:
    """A script that keeps books and answers lines. Use `start`, then `close`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, python: Path, module: str, *arguments: str) -> "Listening":
        """It has subscribed to everything. Raises SdkFailed."""
        listening = cls(await _start(python, module, *arguments))
        if not (await listening._answer()).get("ready"):
            raise SdkFailed(f"{module} could not subscribe: {await listening.close()}")
        return listening

    async def ask(self, line: str) -> dict[str, Any]:
        """The answer to one line. Raises SdkFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_S)
        except TimeoutError:
            raise SdkFailed(f"the listener did not answer in {ANSWER_S:.0f} s") from None
        if not line:
            raise SdkFailed(f"the listener ended: {await self.close()}")
        return _decoded(line)

    async def close(self) -> str:
        """End it; the last of what it said on stderr."""
        if self._process.returncode is None:
            self._process.kill()
        _, err = await self._process.communicate()
        return err.decode(errors="replace").strip()[-800:]


async def _start(python: Path, module: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [str(python), "-W", "ignore", "-m", module, *arguments]
    return await asyncio.create_subprocess_exec(
        *command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES_MAX
    )


def _decoded(line: bytes) -> dict[str, Any]:
    told = json.loads(line)
    assert isinstance(told, dict)
    return told
