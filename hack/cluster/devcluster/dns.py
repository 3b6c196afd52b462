"""Asks a name server one question over UDP: the proof that pods can resolve Services, Service routing included."""

import secrets
import socket
import struct

_A_RECORD, _INTERNET, _RECURSION_DESIRED = 1, 1, 0x0100


def question(name: str, number: int) -> bytes:
    """A query for the IPv4 address of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return (
        struct.pack(">6H", number, _RECURSION_DESIRED, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack(">2H", _A_RECORD, _INTERNET)
    )


def answered(packet: bytes, number: int) -> bool:
    """The packet answers our query, without an error code and with at least one record."""
    if len(packet) < 12:
        return False
    words: tuple[int, ...] = struct.unpack(">4H", packet[:8])
    got, flags, _, answers = words
    return got == number and flags & 0x8000 != 0 and flags & 0xF == 0 and answers > 0


def resolves(server: str, name: str, *, port: int = 53, timeout_seconds: float = 1.0) -> bool:
    number = secrets.randbelow(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout_seconds)
        try:
            link.connect((server, port))
            link.send(question(name, number))
            return answered(link.recv(4096), number)
        except OSError:
            return False
