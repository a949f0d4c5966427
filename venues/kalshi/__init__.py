"""Kalshi: signing, frames of all wire vintages, REST, translation to our records."""
