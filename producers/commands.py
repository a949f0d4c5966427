"""Commands to the venue and which of them still wait for an answer."""

import json
from collections.abc import Callable
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
class Group:
    """Markets that share one subscription: one sid for their books, one for their trades, null until acknowledged."""

    tickers: set[str]
    book_sid: int | None = None
    trade_sid: int | None = None
    #: How often it was subscribed again since its last snapshot; the pause before the next grows with it.
    failures: int = 0


@dataclass(eq=False)
class Command:
    """One command under way."""

    command_id: int
    verb: Verb
    group: Group
    tickers: tuple[str, ...]
    channels: tuple[str, ...]
    sent_s: float
    tries: int = 1
    acknowledged: set[str] = field(default_factory=set)


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

    def subscribe(self, group: Group, channels: tuple[str, ...], tries: int = 1) -> None:
        """Subscribe all markets of the group to the channels; each channel is acknowledged on its own."""
        params: dict[str, Any] = {"channels": list(channels), "market_tickers": sorted(group.tickers)}
        if self.say_use_yes_price:
            params["use_yes_price"] = False  # the venue announced that its default will change
        command = self._issue(Verb.SUBSCRIBE, group, tuple(sorted(group.tickers)), channels, tries)
        self._say(command, "subscribe", params)

    def unsubscribe(self, group: Group, sids: list[int]) -> None:
        """End subscriptions."""
        self._say(self._issue(Verb.UNSUBSCRIBE, group, (), (), 1), "unsubscribe", {"sids": sids})

    def update(self, verb: Verb, group: Group, sid: int, tickers: list[str], tries: int = 1) -> None:
        """Add or delete markets of one sid, or ask for their snapshots."""
        command = self._issue(verb, group, tuple(tickers), (), tries)
        params = {"sids": [sid], "market_tickers": tickers, "action": verb.value}
        self._say(command, "update_subscription", params)

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
        self, verb: Verb, group: Group, tickers: tuple[str, ...], channels: tuple[str, ...], tries: int
    ) -> Command:
        command = Command(self._next_id, verb, group, tickers, channels, self._clock(), tries)
        self.pending[command.command_id] = command
        self._next_id += 1
        return command

    def _say(self, command: Command, cmd: str, params: dict[str, Any]) -> None:
        self._send(json.dumps({"id": command.command_id, "cmd": cmd, "params": params}, separators=(",", ":")))
