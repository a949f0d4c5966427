"""Changelog-backed tables: state as objects per partition, checkpointed in one order and no other."""
