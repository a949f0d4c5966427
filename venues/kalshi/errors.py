"""The venue's WebSocket error codes and what our client does on each.

The two terminal ones end the subscription they name without any further frame: its books are stale from that moment.
"""

from dataclasses import dataclass
from enum import Enum


class Reaction(Enum):
    """What the client does when the venue answers with an error."""

    RESUBSCRIBE = "reset the books of that sid, subscribe its markets again"
    RECONNECT = "close, wait, connect with fresh headers"
    RETRY = "send the command again after a pause"
    SPLIT = "subscribe in smaller groups"
    DROP_MARKET = "report the named market and go on with the others"
    ANOTHER_WAY = "the command is not understood: reach the same by unsubscribe and subscribe"
    JOIN = "add the markets to the sid that the channel has"
    REPORT = "our own mistake: report it, do not repeat the command"


@dataclass(frozen=True, slots=True)
class VenueError:
    """One code: its name in the venue's documents and our reaction."""

    code: int
    name: str
    reaction: Reaction


_TABLE: tuple[tuple[int, str, Reaction], ...] = (
    (1, "unable to process", Reaction.RETRY),
    (2, "params required", Reaction.REPORT),
    (3, "channels required", Reaction.REPORT),
    (4, "sids required", Reaction.REPORT),
    (5, "unknown command", Reaction.ANOTHER_WAY),
    (6, "already subscribed", Reaction.JOIN),
    (7, "unknown sid", Reaction.RESUBSCRIBE),
    (8, "unknown channel", Reaction.REPORT),
    (9, "authentication required", Reaction.RECONNECT),
    (10, "channel error", Reaction.RESUBSCRIBE),
    (11, "invalid parameter", Reaction.ANOTHER_WAY),
    (12, "exactly one sid required", Reaction.REPORT),
    (13, "unsupported action", Reaction.ANOTHER_WAY),
    (14, "market ticker required", Reaction.REPORT),
    (15, "action required", Reaction.REPORT),
    (16, "market not found", Reaction.DROP_MARKET),
    (17, "internal error", Reaction.RETRY),
    (18, "command timeout", Reaction.RETRY),
    (19, "shard error", Reaction.REPORT),
    (20, "shard error", Reaction.REPORT),
    (21, "shard error", Reaction.REPORT),
    (22, "shard error", Reaction.REPORT),
    (23, "match ids required", Reaction.REPORT),
    (24, "index ids required", Reaction.REPORT),
    (25, "subscription buffer overflow", Reaction.RESUBSCRIBE),
    (26, "per-subscription market limit", Reaction.SPLIT),
    (27, "too many commands on the subscription", Reaction.RETRY),
    (28, "underlying tickers required", Reaction.REPORT),
)
VENUE_ERRORS: dict[int, VenueError] = {code: VenueError(code, name, reaction) for code, name, reaction in _TABLE}

#: These end the subscription they name; no frame of that sid follows.
TERMINAL_CODES = frozenset({10, 25})
BUFFER_OVERFLOW = 25


def venue_error(code: int) -> VenueError:
    """The entry of a code; one that is newer than this table is reported, not guessed at."""
    return VENUE_ERRORS.get(code) or VenueError(code, "unknown code", Reaction.REPORT)
