"""A local HTTP server that answers S3 requests as a test says, to see how the store's errors are told. Holds no assertion."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One HTTP answer; `declared` bytes in Content-Length when it is not the body's length."""

    status: int
    body: bytes = b""
    declared: int | None = None
    hang: threading.Event | None = None
    """Keep the connection open and silent after the body until this is set."""


@dataclass
class Dropped(Answer):
    """The connection is closed without an answer."""

    status: int = 0


@dataclass
class Recorder:
    """What was asked for, in order."""

    requests: list[str] = field(default_factory=list)


def listing(sizes: dict[str, int]) -> bytes:
    """Body of an S3 listing of these keys."""
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>1</ETag>"
        "<LastModified>2026-11-23T07:00:00.000Z</LastModified></Contents>"
        for key, size in sorted(sizes.items())
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()


@contextmanager
def serving(
    answer: Callable[[str, str], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[tuple[dict[str, str], Recorder]]:
    """Environment of a store at a server whose answers come from `answer(method, path)`."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            recorder.requests.append(f"{self.command} {self.path}")
            reply = answer(self.command, self.path)
            if isinstance(reply, Dropped):
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body) if reply.declared is None else reply.declared))
            self.send_header("Last-Modified", "Mon, 23 Nov 2026 07:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
                self.wfile.flush()
            if reply.hang is not None:
                reply.hang.wait(30)

        do_GET = do_PUT = do_HEAD = _reply  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_REGION": "us-east-1",
    }
    try:
        yield env, recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
