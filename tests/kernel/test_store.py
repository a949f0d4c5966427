"""The local store of a partition: what a restart must not lose besides the values."""

from pathlib import Path

from tables.store import StoreOptions, open_store


def test_a_reopened_store_has_its_filters_and_sizes_again(tmp_path: Path) -> None:
    """Without them every key that is not there costs a read of the disk, from the first restart on."""
    path = tmp_path / "t.rocksdb"
    told = []
    for n in range(3):
        store, damage = open_store(path, StoreOptions(block_cache_mb=3, write_buffer_mb=5))
        assert damage is None
        store.write([(b"key", b"%d" % n)], n)
        store.close()
        newest = max(path.glob("OPTIONS-*"))  # numbered with leading zeros
        told.append([line for line in newest.read_text().split() if line.startswith(("filter", "write_buffer_size"))])

    assert told[0] == told[1] == told[2]
    assert "filter_policy=bloomfilter" in told[2], "tables/store.py: give the options to the column family too"
    assert f"write_buffer_size={5 << 20}" in told[2]
