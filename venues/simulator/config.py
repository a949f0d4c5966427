"""What one simulator run is told; read from the command line by `__main__`, built directly by tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

Vintage = Literal["a", "b", "c", "d", "mixed"]
DAY_S = 86_400
EXCHANGE_INDEX = 0  # every market of this venue is on one shard
AccountVintage = Literal["b", "c", "d", "mixed"]
FillSides = Literal["outcome", "pair"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line says of a setting (`options`)."""

    help: str
    min: float | None = None


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """Faults from the start of the run; the same names are taken by POST /admin/faults. 0 means off.

    `*_every`: each Nth frame of a source, counted over all connections, each kind shifted against the others so that
    equal numbers do not fall on the same frame. Answers to commands are never hit.

    The last four are what the venue may do with subscriptions and has not promised not to: `join_sid`: a subscribe to a
    channel that the connection already has joins its sid, instead of getting one of its own. `unnumbered_answers`:
    `get_snapshot` is answered without `seq`. `lose_first_snapshot`: the first frame of each books' sid is lost.
    `mute_every`: each Nth subscribe to books is acknowledged, and nothing of its markets follows.
    """

    drop_every: int = 0
    duplicate_every: int = 0
    reorder_every: int = 0
    garbage_every: int = 0
    disconnect_every: int = 0
    garbage_kind: Literal["replace", "extra"] = "replace"
    channels: Annotated[tuple[str, ...], Told("comma separated; all sequenced ones by default")] = ()
    slow_frames_per_s: int = 0
    unauthorized: bool = False
    clean_tail_frames: int = 1_000  # of a finite source: a lost last frame could not be noticed by anyone
    clean_tail_channel_frames: int = 3  # the same for each channel, because each has its own sequence
    join_sid: bool = False
    unnumbered_answers: bool = False
    lose_first_snapshot: bool = False
    mute_every: int = 0


@dataclass(frozen=True, slots=True)
class SimConfig:
    """One run. `rate` is frames per second of the generator (0: as fast as the sockets take them)."""

    port: Annotated[int, Told("0 = a free one")] = 0
    host: str = "127.0.0.1"
    source: Literal["generator", "capture"] = "generator"
    seed: int = 1
    rate: Annotated[int, Told("frames/s of the generator, 0 = its maximum", min=0)] = 200
    strikes: Annotated[int, Told("KXBTCD markets per hour", min=1)] = 12
    frames: Annotated[int | None, Told("finish after so many")] = None
    start_ms: Annotated[int | None, Told("fixed simulated epoch: same seed, same frames; else the wall clock")] = None
    vintage: Annotated[Vintage, Told("of books, trades and markets")] = "d"
    account_vintage: Annotated[AccountVintage, Told("of private answers and frames")] = "d"
    fill_sides: Annotated[FillSides, Told("`side` of a REST fill is the outcome gained, or the order's own side")] = (
        "outcome"
    )
    captures: Annotated[tuple[Path, ...], Told("capture file; may be given several times")] = ()
    speed: Annotated[float, Told("of a capture, 0 = as fast as the socket takes it", min=0)] = 1.0
    wait: Annotated[Literal["all", "any"], Told("a capture starts when its markets are subscribed")] = "all"
    add_snapshots: Annotated[bool, Told("a snapshot of our own on each subscription to a capture")] = False
    public_key: Annotated[Path | None, Told("PEM file; without it nobody is refused")] = None
    key_id: Annotated[str | None, Told("the only key id let in")] = None
    clock_skew_s: int = 30
    admin_token_file: Annotated[
        Path | None, Told("where the token of this run that POST /admin needs is written; else it is said on stdout")
    ] = None
    stamp_us: Annotated[bool, Told("keep send times for GET /admin/sent")] = False
    max_markets_per_sub: Annotated[int, Told("beyond it error 26")] = 1_000
    ping_interval_s: float = 10.0
    account_rate: Annotated[float, Told("the scripted trader's actions/s, 0 = none", min=0)] = 2.0
    account_budget: Annotated[
        int, Told("REST tokens/s of the account; the venue's Basic tier has 200 for reads", min=1)
    ] = 200
    account_write_budget: Annotated[int, Told("the same for writes; Basic has 100", min=1)] = 100
    live_fills_s: Annotated[int, Told("age at which fills, trades and settled positions are archived")] = 90 * DAY_S
    live_orders_s: Annotated[int, Told("age at which orders that are over are archived")] = 14 * DAY_S
    faults: FaultSettings = field(default_factory=FaultSettings)
