"""Loopback ports: which are free, and what to do when one is taken."""

import socket
from contextlib import closing

from domain.errors import UserMistake

LOOPBACK = "127.0.0.1"


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
    """That many different free ports, picked by the system; all are held until the last one is known."""
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in held:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


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
