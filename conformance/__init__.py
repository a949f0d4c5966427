"""`make conformance`: the venue's official SDK and a community's one, unchanged, against the simulator."""
