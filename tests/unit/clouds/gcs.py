"""fake-gcs-server behind a front that does two things of Google's which it leaves out. Holds no assertion.

The front looks at the token of every request: signed by the service account's own key and not expired. And it writes through the
JSON API what comes as an upload of the XML API, which the emulator knows for signed URLs alone, without the condition that
nothing may be there. Everything else passes as it is: listing, reading, conditions and removing are the emulator's.
"""

import base64
import http.client
import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from unit.clouds.cloud import Cloud, started

EMAIL = "modelcycle@factory.iam.gserviceaccount.com"
LISTENS = re.compile(r"server started at http://127\.0\.0\.1:(\d+)")
AT = {"Host": "storage.googleapis.com"}
REFUSED = b"<Error><Code>AuthenticationRequired</Code><Message>Authentication required.</Message></Error>"


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _admits(key: rsa.RSAPublicKey, authorization: str) -> bool:
    """Whether the header carries a token that the account's key has signed and that has not expired."""
    try:
        head, body, signature = authorization.removeprefix("Bearer ").split(".")
        key.verify(_decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(_decoded(body))
    except (InvalidSignature, ValueError):
        return False
    return bool(claims["iss"] == EMAIL and claims["exp"] > time.time())


def _service_account(key: rsa.RSAPrivateKey) -> str:
    """The JSON text of a key file as the console hands it out."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {"type": "service_account", "project_id": "factory", "private_key_id": "1", "private_key": pem}
    return json.dumps({**account, "client_email": EMAIL, "client_id": "1"})


def _front(emulator: int, key: rsa.RSAPublicKey) -> ThreadingHTTPServer:
    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not _admits(key, self.headers.get("Authorization", "")):
                self._answer(401, {}, REFUSED)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"} | AT
            method, path = self.command, self.path
            if method == "PUT":
                method, path = "POST", self._upload()
            connection = http.client.HTTPConnection("127.0.0.1", emulator)
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            found = dict(answer.getheaders())
            content = answer.read()
            connection.close()
            if self.command == "PUT" and answer.status == 200:
                stored = json.loads(content)
                found, content = {"ETag": stored["etag"], "x-goog-generation": stored["generation"]}, b""
            self._answer(answer.status, found, content)

        def _upload(self) -> str:
            bucket, _, name = self.path.removeprefix("/").partition("/")
            query = f"uploadType=media&name={quote(unquote(name), safe='')}"
            if condition := self.headers.get("x-goog-if-generation-match"):
                query += f"&ifGenerationMatch={condition}"
            return f"/upload/storage/v1/b/{bucket}/o?{query}"

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            named = {
                name: value for name, value in headers.items() if name.lower() not in ("date", "transfer-encoding")
            }
            if not any(name.lower() == "content-length" for name in named):
                named["Content-Length"] = str(len(content))
            for name, value in named.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = _pass  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Front)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(words: Sequence[Path], folder: Path) -> Iterator[Cloud]:
    """The emulator and its front for the length of the block, in memory."""
    port = _free_port()  # given 0 it does not say which it took
    options = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-log-level", "info")
    key, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    with started([*words, *options], LISTENS, folder):
        front = _front(port, key.public_key())
        front.daemon_threads = True
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()

        def new_bucket(name: str) -> None:
            headers = {"Content-Type": "application/json", **AT}
            body = json.dumps({"name": name}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/storage/v1/b", body, headers)
            urllib.request.urlopen(request).close()

        place = {"GOOGLE_BASE_URL": f"http://127.0.0.1:{front.server_port}"}
        try:
            yield Cloud(
                scheme="gs",
                secret={**place, "GOOGLE_SERVICE_ACCOUNT_KEY": _service_account(key)},
                foreign={**place, "GOOGLE_SERVICE_ACCOUNT_KEY": _service_account(other)},
                address_key="GOOGLE_BASE_URL",
                names_in_denial="GOOGLE_SERVICE_ACCOUNT_KEY",
                new_bucket=new_bucket,
            )
        finally:
            front.shutdown()
            front.server_close()
