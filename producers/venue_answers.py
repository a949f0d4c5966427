"""What becomes of the venue's answers to our commands, and of those that never come.

Errors get the reaction of `venues.kalshi.errors`, carried out on the subscriptions.
"""

import logging
from collections.abc import Callable

from producers.commands import Command, Verb
from producers.sids import BOOK
from producers.subscriptions import Subscriptions
from venues.kalshi.errors import BUFFER_OVERFLOW, TERMINAL_CODES, Reaction, VenueError, venue_error
from venues.kalshi.messages import ControlFrame

log = logging.getLogger(__name__)

TRIES_MAX = 5  # of one command; then a new connection is the better try
RETRY_PAUSE_S = 0.5  # doubled with each try


def on_acknowledged(subscriptions: Subscriptions, frame: ControlFrame) -> None:
    """`subscribed`, `ok`, `unsubscribed`."""
    desk, sids = subscriptions.desk, subscriptions.sids
    if frame.kind == "subscribed":
        command = desk.pending.get(frame.command_id or 0)
        if command is not None and frame.sid is not None:
            channel = frame.channel or command.channels[0]
            subscriptions.bind(channel, frame.sid, command.tickers)
            command.answered.add(channel)
            if command.answered.issuperset(command.channels):
                desk.take(command.command_id)
        return
    command = desk.take(frame.command_id)
    if frame.kind == "unsubscribed" and frame.sid is not None and sids.is_bound(frame.sid):
        log.warning("the venue ended the subscription of sid %d unasked", frame.sid)
        subscriptions.lose_sid(frame.sid, "channel_error")
    elif command is not None and command.verb is Verb.DELETE:
        _on_deleted(subscriptions, command)
    elif command is not None and command.verb is Verb.ADD and command.sid is not None:
        for channel in subscriptions.channels_of(command):
            subscriptions.bind(channel, command.sid, command.tickers)


def on_unanswered(subscriptions: Subscriptions, command: Command) -> None:
    """No answer came in time."""
    if command.verb is Verb.DELETE:
        _on_deleted(subscriptions, command)
    elif command.verb is Verb.SUBSCRIBE:
        if any(
            subscriptions.sids.sid_of(channel, ticker) is None
            for channel in command.channels
            for ticker in subscriptions.followed.intersection(command.tickers)
        ):
            subscriptions.reconnect_reason = "the venue did not answer a subscribe"
    elif command.verb is Verb.ADD:
        subscriptions.subscribe(command.tickers, subscriptions.channels_of(command))
    elif command.verb is Verb.SNAPSHOT and command.sid is not None and not command.answered:
        _on_unanswered_snapshot(subscriptions, command.sid, command)


def _on_unanswered_snapshot(subscriptions: Subscriptions, sid: int, command: Command) -> None:
    # Books that wait are asked for again by their own deadline; where all are live they were only probed.
    if subscriptions.books.live.keys() >= set(command.tickers):
        log.warning("sid %d is silent and does not answer get_snapshot; subscribing again", sid)
        subscriptions.resubscribe(sid, "channel_error")


def on_error(subscriptions: Subscriptions, frame: ControlFrame) -> None:
    """React to one error frame. Never raises: an error that cannot be placed is reported and the feed goes on."""
    error = venue_error(frame.error_code)
    desk = subscriptions.desk
    # An error about one market leaves the rest of its command in force: acknowledgements may still come.
    about_markets = error.reaction is Reaction.DROP_MARKET and frame.market_tickers
    command = desk.pending.get(frame.command_id or 0) if about_markets else desk.take(frame.command_id)
    log.warning("the venue says error %d, %s%s", error.code, error.name, _about(frame, command))
    if error.code in TERMINAL_CODES:
        _terminal(subscriptions, frame)
    elif error.reaction is Reaction.RECONNECT:
        subscriptions.reconnect_reason = f"the venue says {error.name}"
    elif error.reaction is Reaction.DROP_MARKET:
        _drop_markets(subscriptions, frame, command)
    elif command is not None:
        _REACT[error.reaction](subscriptions, command, error)


def _about(frame: ControlFrame, command: Command | None) -> str:
    parts = [f"sid {frame.sid}"] if frame.sid is not None else []
    parts += [command.verb.value] if command else []
    parts += frame.market_tickers[:5]
    return f" ({', '.join(parts)})" if parts else ""


def _on_deleted(subscriptions: Subscriptions, command: Command) -> None:
    """Both sids confirm a removal; the books' one is the one that counts."""
    if subscriptions.sids.channel_of(command.sid) == BOOK:
        subscriptions.deleted(command.tickers)


def _terminal(subscriptions: Subscriptions, frame: ControlFrame) -> None:
    if frame.sid is None:
        subscriptions.reconnect_reason = "the venue ended a subscription without saying which"
    else:
        overflow = frame.error_code == BUFFER_OVERFLOW
        subscriptions.lose_sid(frame.sid, "buffer_overflow" if overflow else "channel_error")


def _drop_markets(subscriptions: Subscriptions, frame: ControlFrame, command: Command | None) -> None:
    tickers = frame.market_tickers
    if not tickers and command is not None:
        if len(command.tickers) > 1:
            _split(subscriptions, command, venue_error(frame.error_code))
            return
        tickers = command.tickers
    subscriptions.drop(tickers)
    subscriptions.not_found.update(tickers)
    for ticker in tickers:
        log.warning("market %s does not exist at the venue; the others go on", ticker)
    if command is not None and not subscriptions.followed.intersection(command.tickers):
        subscriptions.desk.take(command.command_id)


def _retry(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    if command.verb is Verb.SNAPSHOT:
        subscriptions.books.on_declined(command.tickers)  # asked for again by their own deadline
        return
    if command.tries >= TRIES_MAX:
        subscriptions.reconnect_reason = f"the venue says {error.name} for the {command.tries}th time"
        return

    def again() -> None:
        if command.verb is Verb.SUBSCRIBE:
            subscriptions.subscribe(command.tickers, _unanswered_channels(command), command.tries + 1)
        elif command.verb is Verb.UNSUBSCRIBE:
            if command.sid is not None and subscriptions.sids.has_ended(command.sid):
                subscriptions.desk.unsubscribe(command.sid)
        elif command.sid is not None and subscriptions.sids.is_bound(command.sid):  # else its markets went with it
            subscriptions.desk.update(command.verb, command.sid, command.tickers, command.tries + 1)

    subscriptions.later(RETRY_PAUSE_S * 2 ** (command.tries - 1), again)


def _unanswered_channels(command: Command) -> tuple[str, ...]:
    return tuple(channel for channel in command.channels if channel not in command.answered)


def _split(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    """Halves of a subscribe fit, or the one bad market ends up alone. What finds no room on a sid gets another."""
    if command.verb is Verb.ADD:
        subscriptions.subscribe(command.tickers, subscriptions.channels_of(command))
    elif command.verb is Verb.SUBSCRIBE and len(command.tickers) > 1:
        half = (len(command.tickers) + 1) // 2
        for part in (command.tickers[:half], command.tickers[half:]):
            subscriptions.subscribe(part, _unanswered_channels(command))
    elif command.verb is Verb.SUBSCRIBE:
        _retry(subscriptions, command, error)


def _another_way(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    desk = subscriptions.desk
    if command.verb is Verb.SNAPSHOT:
        subscriptions.books.stop_asking(f"refused (error {error.code})")
        if command.sid is not None and not subscriptions.books.live.keys() >= set(command.tickers):
            subscriptions.resubscribe(command.sid, "gap")
    elif command.verb is Verb.SUBSCRIBE and desk.say_use_yes_price and BOOK in command.channels:
        desk.say_use_yes_price = False  # an older venue that does not know the parameter: NO prices are its only form
        subscriptions.subscribe(command.tickers, command.channels, command.tries + 1)
    elif command.verb is Verb.ADD:
        _split(subscriptions, command, error)
    elif command.verb is Verb.DELETE:
        _on_deleted(subscriptions, command)
    else:
        _report(subscriptions, command, error)


def _join(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    """An older venue has one subscription per channel: more markets are added to it."""
    sids = {channel: subscriptions.sids.of_channel(channel) for channel in _unanswered_channels(command)}
    if command.verb is not Verb.SUBSCRIBE:
        return
    for channel, present in sids.items():
        if present:
            subscriptions.desk.update(Verb.ADD, present[0][0], command.tickers)
        else:
            _retry(subscriptions, command, error)
            log.warning("%s is said to be subscribed, by no sid that we know", channel)


def _resubscribe(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    """An unknown sid: the venue has forgotten what we believe to be subscribed."""
    if command.verb is Verb.UNSUBSCRIBE or command.sid is None:
        return
    channels = subscriptions.channels_of(command)
    if subscriptions.sids.is_bound(command.sid):
        subscriptions.lose_sid(command.sid, "channel_error")
    subscriptions.subscribe(command.tickers if command.verb is Verb.ADD else (), channels)


def _report(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    log.error("%s was refused for good: error %d, %s", command.verb.value, error.code, error.name)


_REACT: dict[Reaction, Callable[[Subscriptions, Command, VenueError], None]] = {
    Reaction.RETRY: _retry,
    Reaction.SPLIT: _split,
    Reaction.ANOTHER_WAY: _another_way,
    Reaction.RESUBSCRIBE: _resubscribe,
    Reaction.REPORT: _report,
    Reaction.JOIN: _join,
}
