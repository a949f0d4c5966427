"""Measurements of this project beside its peers, on one broker and one input in one run: `python -m bench`."""
