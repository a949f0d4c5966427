"""Coinbase: the spot feed."""
