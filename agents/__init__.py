"""One agent per file, verb_noun: load, compute, assign, send."""
