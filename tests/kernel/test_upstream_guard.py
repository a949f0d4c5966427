"""What we rely on inside Faust and aiokafka is what it was when we wrote against it."""

from importlib.metadata import version
from typing import Any

import pytest
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from app import lz4, upstream
from app.transport import LeanPartitionRecords


@pytest.fixture(autouse=True)
def _stock_fetcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have installed our fetcher class in place of the one that is looked at."""
    monkeypatch.setattr(fetcher, "PartitionRecords", LeanPartitionRecords.__base__)


def test_private_parts_of_faust_and_aiokafka_are_the_known_ones() -> None:
    """A changed method fails here, with what to read again, before it fails in production."""
    lines = upstream.changed()
    versions = {name: version(name) for name in upstream.VERSIONS}
    assert not lines, (
        f"\nFaust or aiokafka changed under us (known {upstream.VERSIONS}, installed {versions}).\nRead each of these "
        "beside our code, run `make chaos`, then write the new hash into app/upstream_uses.py:\n  " + "\n  ".join(lines)
    )


def test_guard_notices_a_changed_and_a_vanished_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard itself can fail: both findings name the method and why it matters."""
    theirs = upstream._theirs(fetcher.PartitionRecords, fetcher.__name__)
    monkeypatch.setattr(theirs, "_consume_aborted_up_to", lambda self, offset: None)
    monkeypatch.delattr(theirs, "_contains_abort_marker")
    first, second = upstream.changed()
    assert "_consume_aborted_up_to changed" in first
    assert "_contains_abort_marker is gone; we rely on it: called by LeanPartitionRecords" in second


def test_lz4_seam_is_called_by_the_batch_builder_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled builder has no source to hash: it must look `lz4_encode` up in a module that we can reach."""
    calls: list[int] = []

    def count(data: Any, **kwargs: Any) -> Any:
        calls.append(len(data))
        return codec.lz4_encode(data, level=lz4.LEVEL)

    for module in lz4.seams():
        monkeypatch.setattr(module, "lz4_encode", count)
    builder = DefaultRecordBatchBuilder(
        2, DefaultRecordBatch.CODEC_LZ4, is_transactional=False, producer_id=1, producer_epoch=0, base_sequence=0,
        batch_size=1 << 20,
    )  # fmt: skip
    for offset in range(100):
        builder.append(offset, timestamp=1, key=b"key", value=b"v" * 500, headers=[])
    assert len(builder.build()) < 10_000
    assert len(calls) == 1, "the batch builder compressed without our lz4_encode: app.lz4 changes nothing"
