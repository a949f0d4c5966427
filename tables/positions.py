"""Table positions: market_ticker -> the kept fills of the market and the position they fold to, one value and whole.

Full chunks of fills do not change: they are packed once and kept packed, so a checkpoint of a market with many fills
copies bytes and encodes only what is new. A fill takes about 35 bytes: TABLE_VALUE_MAX_BYTES (4 MiB) holds 120,000 of
one market; settlement lets them go. A settled market itself goes when nothing was said of it for FILL_RETENTION_DAYS.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import zstandard

from domain.position_ledger import CHUNK_ENTRIES, ChunkRef, MarketLedger, PositionState, VenuePosition
from domain.positions import Entry, Fold, Opening, Settlement, Sums
from schemas.registry import FILLS, POSITION_REPORTS
from tables.checkpointed import CheckpointedTable

TABLE = "positions"


@dataclass(slots=True)
class MarketPosition(MarketLedger):
    """`folded`: the cause (offset, n) of the last fill folded: a fill published again by a killed writer is older.

    `corrections` are those folded, by id. `ts_event_ms` is the largest published, `told_ms` when we heard of the market
    last (0: before this was kept).
    """

    ts_event_ms: int = 0
    folded: tuple[int, int] = (-1, 0)
    corrections: tuple[str, ...] = ()
    told_ms: int = 0
    _packed: dict[int, tuple[tuple[Entry, ...], bytes]] = field(default_factory=dict, compare=False, repr=False)

    def packed(self, number: int) -> bytes:
        """The stored form of a chunk; of a full one it is kept."""
        entries = self.chunks[number]
        known = self._packed.get(number)
        if known is not None and known[0] is entries:
            return known[1]
        raw = _compress(_pack([_row(entry) for entry in entries]))
        if len(entries) >= CHUNK_ENTRIES // 2:
            self._packed[number] = (entries, raw)
        return raw

    def forget_packed(self) -> None:
        """Let go what belongs to chunks that are no more."""
        for number in self._packed.keys() - self.chunks.keys():
            del self._packed[number]


def is_over(position: MarketPosition, horizon_ms: int) -> bool:
    """Whether the market is settled and nothing was said of it since that time: it may be forgotten. By when we heard
    it: what an old account tells at once of years ago belongs together."""
    return position.state.settlement is not None and 0 < position.told_ms < horizon_ms


class _Value(msgspec.Struct, array_like=True, gc=False):
    """What is stored. Field order is the format: add at the end, with a default."""

    market_ticker: str
    revision: int
    sums: tuple[int, int, int, int, int, int, int, int, int]
    fold: tuple[int, int, int]
    chunks: list[tuple[int, int, str, tuple[int, int, int], bytes]]
    next_chunk: int
    last_ts_ms: int
    opening: tuple[int, int, int, int, int] | None
    settlement: tuple[int | None, int, int] | None
    venue: tuple[int, int, int | None] | None
    ts_event_ms: int
    folded: tuple[int, int]
    corrections: tuple[str, ...]
    told_ms: int = 0


class _Entry(msgspec.Struct, array_like=True, gc=False):
    ts_ms: int
    sort_id: str
    signed_e2: int
    yes_price_e4: int
    kind: str
    fee_e6: int | None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Value).decode
_unpack_entries = msgspec.msgpack.Decoder(list[_Entry]).decode
#: The same input gives the same bytes; level 1 halves the text of ids and is not seen in the fold's time.
_compress = zstandard.ZstdCompressor(level=1, write_content_size=True).compress
_decompress = zstandard.ZstdDecompressor().decompress


def _row(entry: Entry) -> tuple[object, ...]:
    return entry.ts_ms, entry.sort_id, entry.signed_e2, entry.yes_price_e4, entry.kind, entry.fee_e6


def encode(position: MarketPosition) -> bytes:
    """MessagePack around compressed chunks of fills."""
    state = position.state
    position.forget_packed()
    return _pack(
        _Value(
            state.market_ticker, state.revision, _plain(state.sums), _plain(state.fold),
            [
                (r.number, r.first_ts_ms, r.first_sort_id, _plain(r.before), position.packed(r.number))
                for r in state.chunks
            ],
            state.next_chunk, state.last_ts_ms,
            None if state.opening is None else _plain(state.opening),
            None if state.settlement is None else _plain(state.settlement),
            None if state.venue is None else _plain(state.venue),
            position.ts_event_ms, position.folded, position.corrections, position.told_ms,
        )
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """The values of a dataclass, in the order of its fields."""
    return tuple(getattr(value, name) for name in type(value).__dataclass_fields__)


def decode(raw: bytes) -> MarketPosition:
    """The inverse of `encode`."""
    value = _unpack(raw)
    chunks = {
        number: tuple(
            Entry(e.ts_ms, e.sort_id, e.signed_e2, e.yes_price_e4, e.kind, e.fee_e6)  # type: ignore[arg-type]
            for e in _unpack_entries(_decompress(packed))
        )
        for number, _, _, _, packed in value.chunks
    }
    state = PositionState(
        market_ticker=value.market_ticker,
        revision=value.revision,
        sums=Sums(*value.sums),
        fold=Fold(*value.fold),
        chunks=tuple(ChunkRef(number, ts_ms, name, Fold(*before)) for number, ts_ms, name, before, _ in value.chunks),
        next_chunk=value.next_chunk,
        last_ts_ms=value.last_ts_ms,
        opening=None if value.opening is None else Opening(*value.opening),
        settlement=None if value.settlement is None else Settlement(*value.settlement),
        venue=None if value.venue is None else VenuePosition(*value.venue),
    )
    return MarketPosition(state, chunks, value.ts_event_ms, value.folded, value.corrections, value.told_ms)


#: All in memory: the account's markets, some hundred bytes each and their fills. What was settled long ago is small.
POSITIONS: CheckpointedTable[MarketPosition] = CheckpointedTable(
    TABLE, encode, decode, first_sources=(FILLS.name, POSITION_REPORTS.name)
)
