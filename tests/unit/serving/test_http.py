"""HTTP edge cases against a real server process, byte by byte over raw sockets."""

import pytest

from unit.serving import rig

ROW = rig.matrix([[1.0, 2.0, 3.0]])
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"


def test_pipelined_requests_are_answered_in_their_order(client: rig.Client) -> None:
    bodies = [rig.matrix([[float(at), 0.0, 0.0]], id=str(at)) for at in range(150)]
    client.send(b"".join(rig.infer_request(body) for body in bodies))
    assert [client.answer().json["id"] for _ in bodies] == [str(at) for at in range(150)]


def test_request_split_into_single_bytes_is_answered(client: rig.Client) -> None:
    for at in range(len(raw := rig.infer_request(ROW))):
        client.send(raw[at : at + 1])
    assert client.answer().status == 200


def test_connection_is_kept_alive_by_default(client: rig.Client) -> None:
    assert [client.get("/v2/health/live").status for _ in range(3)] == [200, 200, 200]


def test_connection_close_is_honoured(client: rig.Client) -> None:
    client.send(rig.infer_request(ROW, "Connection: close"))
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.is_closed()


def test_http_1_0_closes_unless_it_asks_for_keep_alive(server: rig.Server) -> None:
    with server.client() as client:
        client.send(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert client.answer().headers["connection"] == "close"
        assert client.is_closed()
    with server.client() as client:
        client.send(b"GET /v2/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert client.answer().headers["connection"] == "keep-alive"
        assert client.get("/v2").status == 200


def test_chunked_body_is_accepted(client: rig.Client) -> None:
    raw = rig.infer_request(ROW).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (raw[:5], raw[5:40], raw[40:]))
    client.send(b"POST /v2/models/model/infer HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(chunks + b"0\r\nX-Trailer: ignored\r\n\r\n")
    assert client.answer().status == 200
    assert client.get("/v2").status == 200


def test_expect_100_continue_gets_an_interim_answer(client: rig.Client) -> None:
    head, _, body = rig.infer_request(ROW, "Expect: 100-continue").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert client.answer().status == 100
    client.send(body)
    assert client.answer().status == 200


def test_expect_100_continue_with_too_large_a_body_is_refused_before_it_is_sent(client: rig.Client) -> None:
    client.send(
        b"POST /v2/models/model/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n"
    )
    assert client.answer().status == 413
    assert client.is_closed()


def test_body_over_the_limit_is_refused_with_the_answer_readable(client: rig.Client) -> None:
    client.send(rig.infer_request(b"[" + b"0," * 40000 + b"0]"))
    answer = client.answer()
    assert (answer.status, answer.json) == (413, {"error": "the body is larger than 65536 bytes"})
    assert client.is_closed()


def test_answer_to_an_oversized_upload_survives_the_upload(client: rig.Client) -> None:
    client.send(b"POST /v2/models/model/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n")
    client.send(b"0" * 8_000_000)
    assert client.answer().status == 413
    assert client.is_closed()


def test_chunked_body_over_the_limit_is_refused(client: rig.Client) -> None:
    client.send(b"POST /v2/models/model/infer HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"4000\r\n" + b"0" * 0x4000 + b"\r\n")
    client.send((b"4000\r\n" + b"0" * 0x4000 + b"\r\n") * 4)
    assert client.answer().status == 413


@pytest.mark.parametrize(
    "head",
    [
        b"X-Big: " + b"a" * 20000,
        b"\r\n".join(b"X-%d: a" % at for at in range(101)),
        b"Cookie: " + b"a" * 16000 + b"\r\nX: " + b"b" * 1000,
    ],
)
def test_header_limits(client: rig.Client, head: bytes) -> None:
    client.send(b"GET /v2 HTTP/1.1\r\nHost: t\r\n" + head + b"\r\n\r\n")
    assert client.answer().status == 431
    assert client.is_closed()


@pytest.mark.parametrize(
    "unit",
    [
        b"\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: " + b"x" * 16000,
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" + b"x" * 16000,
    ],
    ids=["empty-lines", "trailer", "chunk-extension"],
)
def test_what_is_neither_head_nor_body_is_bounded(client: rig.Client, unit: bytes) -> None:
    client.send(unit)
    client.send((unit if len(unit) < 9 else b"x") * 20_000)
    assert client.answer().status == 431
    assert client.is_closed()


def test_header_that_never_ends_is_bounded(client: rig.Client) -> None:
    client.send(b"GET /v2 HTTP/1.1\r\nHost: t\r\nX: ")
    for _ in range(5):
        client.send(b"a" * 4000)
    assert client.answer().status == 431


def test_target_over_the_limit_is_refused(client: rig.Client) -> None:
    client.send(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    assert client.answer().status == 414


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\nHost: t\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost : t\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v2 HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        b"GET /v2\r\nHost: t\r\n\r\n",
        b"GET /v2 HTTP/2.0\r\nHost: t\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_http_is_400_and_closes(client: rig.Client, raw: bytes) -> None:
    client.send(raw)
    assert client.answer().status == 400
    assert client.is_closed()


def test_garbage_after_a_good_request_spoils_only_itself(client: rig.Client) -> None:
    client.send(rig.infer_request(ROW) + b"\x00garbage\r\n\r\n")
    assert client.answer().status == 200
    assert client.answer().status == 400
    assert client.is_closed()


def test_bytes_after_connection_close_are_ignored(client: rig.Client) -> None:
    client.send(rig.infer_request(ROW, "Connection: close") + LIVE)
    assert client.answer().status == 200
    assert client.is_closed()


def test_half_closed_client_gets_its_answers(client: rig.Client) -> None:
    client.send(LIVE * 3)
    client.socket.shutdown(1)
    assert [client.answer().status for _ in range(3)] == [200, 200, 200]
    assert client.is_closed()


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
"""What Java's HttpClient sends with the first request of a connection."""


def test_offer_of_another_protocol_is_ignored_and_the_body_is_not(client: rig.Client) -> None:
    client.send(rig.infer_request(ROW, *UPGRADE) + rig.infer_request(ROW, *UPGRADE) + LIVE)
    assert [client.answer().status for _ in range(3)] == [200, 200, 200]


def test_offer_of_another_protocol_may_come_in_pieces_and_close(client: rig.Client) -> None:
    for at in range(len(raw := rig.infer_request(ROW, "Connection: close, Upgrade", "Upgrade: websocket"))):
        client.send(raw[at : at + 1])
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.is_closed()


def test_tunnel_is_refused(client: rig.Client) -> None:
    client.send(b"CONNECT t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n" + LIVE)
    assert client.answer().status == 501
    assert client.is_closed()


@pytest.mark.parametrize("target", [b"http://t/v2/health/live", b"HTTPS://t:80/v2/health/live?a=http://b"])
def test_target_may_name_the_host_as_to_a_proxy(client: rig.Client, target: bytes) -> None:
    client.send(LIVE.replace(b"/v2/health/live", target))
    assert client.answer().json == {"live": True}


def test_compressed_body_is_415(client: rig.Client) -> None:
    client.send(rig.infer_request(b"\x1f\x8b", "Content-Encoding: gzip"))
    assert client.answer().status == 415


def test_head_has_no_body(client: rig.Client) -> None:
    client.send(LIVE.replace(b"GET", b"HEAD"))
    assert int(client.answer(head=True).headers["content-length"]) > 0
    assert client.get("/v2").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/model/versions/1/infer", 404),
        ("GET", "/v2/models/model/infer", 405),
        ("DELETE", "/v2/models/model", 405),
        ("POST", "/v2/health/ready", 405),
        ("GET", "/v2/health/ready?verbose", 200),
        ("GET", "/metrics", 404),
    ],
)
def test_paths_and_methods(client: rig.Client, method: str, path: str, status: int) -> None:
    client.send(f"{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n".encode())
    answer = client.answer()
    assert answer.status == status
    assert (status == 405) == ("allow" in answer.headers)


def test_peer_that_does_not_read_does_not_hold_up_others(server: rig.Server) -> None:
    with server.client() as deaf, server.client() as other:
        deaf.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            deaf.send(b"GET /v2/models/model HTTP/1.1\r\nHost: t\r\n\r\n" * 500_000)
        assert other.infer(ROW).status == 200
