"""What one simulator run is told; read from the command line by `__main__`, built directly by tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Vintage = Literal["a", "b", "c", "mixed"]


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
    channels: tuple[str, ...] = ()  # () = every sequenced channel
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

    port: int = 0
    host: str = "127.0.0.1"
    source: Literal["generator", "capture"] = "generator"
    seed: int = 1
    rate: int = 200
    strikes: int = 12  # KXBTCD markets per hour
    frames: int | None = None  # finite generator: finished after so many
    start_ms: int | None = None  # fixed simulated epoch, for determinism; None = the wall clock
    vintage: Vintage = "c"
    captures: tuple[Path, ...] = ()
    speed: float = 1.0  # of a capture; 0 = as fast as the socket takes it
    wait: Literal["all", "any"] = "all"  # a capture starts when all of its markets are subscribed, or any
    add_snapshots: bool = False
    public_key: Path | None = None  # None = signatures are not checked
    key_id: str | None = None  # None = any key id with a right signature
    clock_skew_s: int = 30
    stamp_us: bool = False
    max_markets_per_sub: int = 1_000  # beyond it error 26
    ping_interval_s: float = 10.0
    faults: FaultSettings = field(default_factory=FaultSettings)
