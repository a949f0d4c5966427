"""Which private channels the venue has let us hear, on one connection, and what to ask again when. No clock, no I/O.

Each channel is asked for by a command of its own, so that an error says by its id which one was refused. Whatever the
venue does with it (an error, no answer, an `unsubscribed` that nobody asked for) is a reason until it is acknowledged,
and it is asked for again, with backoff, for as long as the connection lives.
"""

import random
from dataclasses import dataclass, field
from typing import Any

CHANNELS = ("fill", "market_positions", "user_orders")
#: An acknowledgement takes milliseconds; a later one is a lost one, and asking again costs a second sid at most.
ANSWER_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.5  # doubled with each refusal, with jitter: half of it to all of it
RETRY_S_MAX = 30.0
#: A channel that was heard for so long was good: its next loss is mended at once.
GOOD_S = 60.0
#: Unanswered or refused tries of every channel, without one acknowledgement ever: the connection itself is at fault.
HOPELESS_TRIES = 4

Command = dict[str, Any]


@dataclass(slots=True)
class _Channel:
    """`sids`: where it is heard, more than one after a late acknowledgement. `wrong`: why it is not heard."""

    name: str
    sids: set[int] = field(default_factory=set)
    asked_s: float | None = None  # a command under way
    due_s: float = 0.0  # when the next one may go
    heard_since_s: float = 0.0
    tries: int = 0
    wrong: str = ""


class PrivateChannels:
    """Of one connection. Times are seconds of any clock that only runs forward."""

    def __init__(self) -> None:
        self._channels = {name: _Channel(name) for name in CHANNELS}
        self._commands = 0
        self._ever_heard = False

    @property
    def problem(self) -> str | None:
        """The channels that are not heard, each with its reason, for readiness."""
        silent = [f"{c.name} ({c.wrong or 'not acknowledged yet'})" for c in self._channels.values() if not c.sids]
        return f"private channels not heard, polling meanwhile: {', '.join(silent)}" if silent else None

    @property
    def is_hopeless(self) -> bool:
        """Nothing was ever acknowledged here, however often it was asked for."""
        return not self._ever_heard and all(c.tries >= HOPELESS_TRIES for c in self._channels.values())

    @property
    def was_good(self) -> bool:
        """Whether the venue let us hear something here."""
        return self._ever_heard

    def due(self, now_s: float) -> list[Command]:
        """The commands to send now. A command that was not answered in time counts as refused."""
        commands = []
        for number, channel in enumerate(self._channels.values()):
            if channel.asked_s is not None and now_s - channel.asked_s >= ANSWER_TIMEOUT_S:
                self._refused(channel, f"no answer in {ANSWER_TIMEOUT_S:g} s", now_s)
            if channel.sids or channel.asked_s is not None or now_s < channel.due_s:
                continue
            channel.asked_s = now_s
            # The id names the channel, whenever the answer comes. Ids start at 1: the venue takes 0 for none.
            self._commands += 1
            command_id = self._commands * len(CHANNELS) + number
            commands.append({"id": command_id, "cmd": "subscribe", "params": {"channels": [channel.name]}})
        return commands

    def acknowledged(self, frame: dict[str, Any], now_s: float) -> None:
        """A `subscribed` frame."""
        message = frame.get("msg")
        body = message if isinstance(message, dict) else {}
        channel = self._channels.get(str(body.get("channel"))) or self._of_command(frame)
        sid = body.get("sid", frame.get("sid"))
        if channel is None or type(sid) is not int:
            return
        for other in self._channels.values():
            other.sids.discard(sid)  # a sid is of one channel: the later word counts
        if not channel.sids:
            channel.heard_since_s = now_s
        channel.sids.add(sid)
        channel.asked_s, channel.wrong = None, ""
        self._ever_heard = True

    def ended(self, frame: dict[str, Any], now_s: float) -> str | None:
        """An `unsubscribed` frame; we never ask for one. The channel whose subscription is over by it."""
        return self._lost(_sid_of(frame), "the venue unsubscribed us", now_s)

    def refused(self, frame: dict[str, Any], now_s: float) -> str | None:
        """An `error` frame; the channel it is about, None where the venue does not say."""
        message = frame.get("msg")
        body = message if isinstance(message, dict) else {}
        why = f"error {body.get('code')}"
        lost = self._lost(_sid_of(frame), why, now_s)
        if lost is not None:
            return lost
        channel = self._of_command(frame)
        if channel is None:
            waiting = [c for c in self._channels.values() if c.asked_s is not None]
            channel = waiting[0] if len(waiting) == 1 else None
        if channel is None or channel.sids:
            return None
        self._refused(channel, why, now_s)
        return channel.name

    def _lost(self, sid: int | None, why: str, now_s: float) -> str | None:
        for channel in self._channels.values():
            if sid is not None and sid in channel.sids:
                channel.sids.discard(sid)
                if channel.sids:
                    return channel.name  # heard on another sid still
                if now_s - channel.heard_since_s >= GOOD_S:
                    channel.tries = 0
                self._refused(channel, why, now_s)
                return channel.name
        return None

    def _refused(self, channel: _Channel, why: str, now_s: float) -> None:
        longest_s = min(RETRY_S_MAX, RETRY_FIRST_S * 2 ** min(channel.tries, 16))
        channel.tries += 1
        channel.asked_s, channel.wrong = None, why
        channel.due_s = now_s + random.uniform(longest_s / 2, longest_s)  # noqa: S311  # no secret

    def _of_command(self, frame: dict[str, Any]) -> _Channel | None:
        command_id = frame.get("id")
        if type(command_id) is not int or command_id < len(CHANNELS):
            return None
        return self._channels[CHANNELS[command_id % len(CHANNELS)]]


def _sid_of(frame: dict[str, Any]) -> int | None:
    """The subscription that a frame names, beside its message or in it."""
    message = frame.get("msg")
    sid = frame.get("sid", message.get("sid") if isinstance(message, dict) else None)
    return sid if type(sid) is int else None
