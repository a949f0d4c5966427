"""A venue on loopback: real sockets, the venues' protocols, deterministic by seed, or a capture played back."""
