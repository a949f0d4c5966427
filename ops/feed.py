"""Which feed `up` runs: the simulator's generator, a recorded capture, or the venue itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from domain.errors import UserMistake


@dataclass(frozen=True)
class Feed:
    """`simulated`: our own venue serves it on loopback. `finite`: it has an end, so `--until-drained` makes sense."""

    kind: Literal["sim", "replay", "demo", "prod"]
    captures: tuple[Path, ...] = ()

    @property
    def simulated(self) -> bool:
        return self.kind in ("sim", "replay")

    @property
    def finite(self) -> bool:
        return self.kind == "replay"

    @property
    def kalshi_env(self) -> str:
        """The value of KALSHI_ENV for this feed."""
        return "sim" if self.simulated else self.kind


def parse_feed(text: str) -> Feed:
    """'sim', 'demo', 'prod' or 'replay:PATH[,PATH]'. Raises UserMistake for others and unreadable files."""
    kind, _, rest = text.partition(":")
    if kind == "replay":
        captures = tuple(Path(part).expanduser().resolve() for part in rest.split(",") if part)
        if not captures:
            raise UserMistake("--feed replay: expected replay:PATH[,PATH], was no path")
        for path in captures:
            check_readable(path)
        return Feed("replay", captures)
    if rest or kind not in ("sim", "demo", "prod"):
        raise UserMistake(f"--feed: expected sim, replay:PATH[,PATH], demo or prod, was {text!r}"[:200])
    return Feed(kind)  # type: ignore[arg-type]


def check_readable(path: Path) -> None:
    """Raises UserMistake unless the capture is a file that can be read."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as wrong:
        raise UserMistake(f"--feed replay: expected a readable capture, was {path}: {wrong.strerror}") from None
