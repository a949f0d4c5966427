"""Loopback ports: which are free, and what to do when one is taken."""

import random
import socket
from contextlib import closing

from domain.errors import UserMistake

LOOPBACK = "127.0.0.1"
# Below 32,768, where Linux begins to hand out ports to outgoing connections: one of those can take a port between our
# look and the server's bind, or while the server is down for a restart.
PICKED_FROM = range(10_000, 32_000)
PICK_TRIES = 1_000  # of 22,000 ports; a machine that has a thousand random ones taken has no room for us
_dice = random.SystemRandom()  # two processes that seeded `random` alike must not pick alike


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now (a port in TIME_WAIT counts as free)."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """That many different free ports, picked at random."""
    return [port for (port,) in _free_runs(count, 1)]


def free_port_base(count: int) -> int:
    """The first of `count` free ports in a row."""
    return _free_runs(1, count)[0][0]


def _free_runs(runs: int, length: int) -> list[range]:
    found: list[range] = []
    for _ in range(PICK_TRIES):
        if len(found) == runs:
            return found
        first = _dice.randrange(PICKED_FROM.start, PICKED_FROM.stop - length)
        run = range(first, first + length)
        if not any(port in other for other in found for port in run) and all(map(is_free, run)):
            found.append(run)
    raise UserMistake(f"expected {runs * length} free ports on {LOOPBACK} in {PICKED_FROM}, found {len(found)}")


def default_or_free(port: int) -> int:
    """The default port where nobody has it, else a free one."""
    return port if is_free(port) else free_ports(1)[0]


def require_free(port: int, what: str) -> int:
    """The port that the user asked for.

    Raises:
        UserMistake: another process listens there; the user chose it, so no other one is picked silently.
    """
    if not is_free(port):
        raise UserMistake(f"{what}: expected port {port} to be free, was in use by another process")
    return port
