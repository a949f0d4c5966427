"""Commands to the venue and which of them still wait for an answer."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: Commands without an answer. A client with more has lost its venue: the connection is given up.
PENDING_MAX = 1_000
#: No answer after this long counts as none. The venue answers within a round trip.
ANSWER_S_MAX = 10.0


class Verb(Enum):
    """What a command asks for; the value is the venue's `cmd`, or the `action` of its update_subscription."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    ADD = "add_markets"
    DELETE = "delete_markets"
    SNAPSHOT = "get_snapshot"


@dataclass(eq=False)
class Command:
    """One command under way. A subscribe has channels, all others the sid that they are about. `answered`: channels
    that were acknowledged, or markets whose snapshot came."""

    command_id: int
    verb: Verb
    sid: int | None
    tickers: tuple[str, ...]
    channels: tuple[str, ...]
    sent_s: float
    tries: int = 1
    answered: set[str] = field(default_factory=set)


class CommandDesk:
    """Numbers commands, sends them, and finds them again by the `id` of the answer. One per connection."""

    def __init__(self, send: Callable[[str], None], clock: Callable[[], float]) -> None:
        """`send` takes the text of a frame; `clock` is monotonic, in seconds."""
        self._send = send
        self._clock = clock
        self._next_id = 1  # 0 means "absent" to the venue
        self.pending: dict[int, Command] = {}
        #: Sent with every subscribe to books until the venue refuses the parameter.
        self.say_use_yes_price = True

    def subscribe(self, tickers: Iterable[str], channels: tuple[str, ...], tries: int = 1) -> None:
        """Subscribe markets to channels; each channel is acknowledged on its own."""
        wanted = tuple(sorted(tickers))
        params: dict[str, Any] = {"channels": list(channels), "market_tickers": wanted}
        if self.say_use_yes_price:
            params["use_yes_price"] = False  # the venue announced that its default will change
        self._say(self._issue(Verb.SUBSCRIBE, None, wanted, channels, tries), "subscribe", params)

    def unsubscribe(self, sid: int) -> None:
        """End a subscription."""
        self._say(self._issue(Verb.UNSUBSCRIBE, sid, (), (), 1), "unsubscribe", {"sids": [sid]})

    def update(self, verb: Verb, sid: int, tickers: Iterable[str], tries: int = 1) -> None:
        """Add or delete markets of one sid, or ask for their snapshots."""
        command = self._issue(verb, sid, tuple(tickers), (), tries)
        params = {"sids": [sid], "market_tickers": command.tickers, "action": verb.value}
        self._say(command, "update_subscription", params)

    def joining(self, sid: int) -> int:
        """How many markets are on their way to this sid."""
        return sum(len(c.tickers) for c in self.pending.values() if c.verb is Verb.ADD and c.sid == sid)

    def take(self, command_id: int | None) -> Command | None:
        """The command that this id answers, no longer pending."""
        return self.pending.pop(command_id, None) if command_id is not None else None

    def overdue(self) -> list[Command]:
        """Commands that waited too long, no longer pending."""
        limit_s = self._clock() - ANSWER_S_MAX
        late = [command for command in self.pending.values() if command.sent_s < limit_s]
        for command in late:
            del self.pending[command.command_id]
        return late

    @property
    def is_overrun(self) -> bool:
        """Too many answers are missing."""
        return len(self.pending) > PENDING_MAX

    def _issue(
        self, verb: Verb, sid: int | None, tickers: tuple[str, ...], channels: tuple[str, ...], tries: int
    ) -> Command:
        command = Command(self._next_id, verb, sid, tickers, channels, self._clock(), tries)
        self.pending[command.command_id] = command
        self._next_id += 1
        return command

    def _say(self, command: Command, cmd: str, params: dict[str, Any]) -> None:
        self._send(json.dumps({"id": command.command_id, "cmd": cmd, "params": params}, separators=(",", ":")))
