"""Numbered SQL, forward only."""
