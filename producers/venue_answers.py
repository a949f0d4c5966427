"""What becomes of an `error` frame: the reaction of `venues.kalshi.errors`, carried out on the subscriptions."""

import logging
from collections.abc import Callable

from producers.commands import Command, Verb
from producers.subscriptions import BOOK, Subscriptions
from venues.kalshi.errors import BUFFER_OVERFLOW, TERMINAL_CODES, Reaction, VenueError, venue_error
from venues.kalshi.messages import ControlFrame

log = logging.getLogger(__name__)

TRIES_MAX = 5  # of one command; then a new connection is the better try
RETRY_PAUSE_S = 0.5  # doubled with each try


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
    if command is not None and command.verb is Verb.SUBSCRIBE and not command.group.tickers:
        subscriptions.desk.take(command.command_id)


def _retry(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    if command.tries >= TRIES_MAX:
        subscriptions.reconnect_reason = f"the venue says {error.name} for the {command.tries}th time"
        return
    tries, group, desk = command.tries + 1, command.group, subscriptions.desk

    def again() -> None:
        if command.verb is Verb.SUBSCRIBE:
            desk.subscribe(group, command.channels, tries)
        elif command.verb in (Verb.ADD, Verb.DELETE) and group.book_sid is not None:
            desk.update(command.verb, group, group.book_sid, list(command.tickers), tries)
        # Snapshots are asked for again by their own deadline.

    subscriptions.later(RETRY_PAUSE_S * 2 ** (command.tries - 1), again)


def _split(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    """Halves of the group: they fit, or the one bad market ends up alone."""
    tickers = sorted(command.tickers)
    if command.verb is Verb.SUBSCRIBE and len(tickers) <= 1:
        _retry(subscriptions, command, error)
        return
    if command.verb not in (Verb.SUBSCRIBE, Verb.ADD):
        return
    subscriptions.drop(tickers)
    half = (len(tickers) + 1) // 2 if command.verb is Verb.SUBSCRIBE else len(tickers)
    for part in (tickers[:half], tickers[half:]):
        if part:
            subscriptions.open_group(part)


def _another_way(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    desk, group = subscriptions.desk, command.group
    if command.verb is Verb.SNAPSHOT:
        subscriptions.can_ask_snapshot = False
        subscriptions.resubscribe(group)
    elif command.verb is Verb.SUBSCRIBE and desk.say_use_yes_price and BOOK in command.channels:
        desk.say_use_yes_price = False  # an older venue that does not know the parameter: NO prices are its only form
        desk.subscribe(group, command.channels, command.tries + 1)
    elif command.verb is Verb.ADD:
        _split(subscriptions, command, error)
    elif command.verb is Verb.DELETE:
        subscriptions.finish_removal(command)
    else:
        _report(subscriptions, command, error)


def _resubscribe(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    """An unknown sid: the venue has forgotten what we believe to be subscribed."""
    if command.verb is not Verb.UNSUBSCRIBE and command.group.book_sid is not None:
        subscriptions.lose_sid(command.group.book_sid, "channel_error")


def _report(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    log.error("%s was refused for good: error %d, %s", command.verb.value, error.code, error.name)


def _ignore(subscriptions: Subscriptions, command: Command, error: VenueError) -> None:
    pass


_REACT: dict[Reaction, Callable[[Subscriptions, Command, VenueError], None]] = {
    Reaction.RETRY: _retry,
    Reaction.SPLIT: _split,
    Reaction.ANOTHER_WAY: _another_way,
    Reaction.RESUBSCRIBE: _resubscribe,
    Reaction.REPORT: _report,
    Reaction.IGNORE: _ignore,
}
