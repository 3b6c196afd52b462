"""Ports answer on IPv4 and IPv6, as a node with either or both has them."""

import socket

import pytest

from modelcycle_bundle.listening import EVERYWHERE, listening


def reaches(listener: socket.socket, address: str) -> bool:
    with socket.create_connection((address, listener.getsockname()[1]), timeout=5):
        listener.accept()[0].close()
        return True


def test_both_families_reach_one_port() -> None:
    with listening(EVERYWHERE, 0, 8) as listener:
        assert reaches(listener, "127.0.0.1")
        assert reaches(listener, "::1")


def test_node_without_ipv6_is_listened_on_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listening(EVERYWHERE, 0, 8) as listener:
        assert listener.family is socket.AF_INET
        assert reaches(listener, "127.0.0.1")


def test_node_with_ipv6_switched_off_is_listened_on_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_server

    def refused(address: tuple[str, int], **options: object) -> socket.socket:
        if options.get("family") is socket.AF_INET6:
            raise OSError(99, "Cannot assign requested address")
        return real(address, backlog=8)

    monkeypatch.setattr(socket, "create_server", refused)
    with listening(EVERYWHERE, 0, 8) as listener:
        assert reaches(listener, "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_named_address_is_listened_on_alone(host: str) -> None:
    with listening(host, 0, 8) as listener:
        assert listener.getsockname()[0] == host
        assert reaches(listener, host)


def test_port_that_is_taken_is_an_error() -> None:
    with listening(EVERYWHERE, 0, 8) as first, pytest.raises(OSError, match="in use"):
        listening(EVERYWHERE, first.getsockname()[1], 8)
