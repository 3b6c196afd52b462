"""TLS on the serving port, and on the way to the pods of the other revision.

Owns certificate, key and trust, and their renewal: files that change are used from the next connection on. Whoever listens with TLS also
hands on with TLS, to pods that hold the same certificate or one that `ca` vouches for; a plain pod behind the same Service counts as
unreached, and this pod answers. Names are not compared: a Service's address stands for pods that come and go.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelcycle_serving.logs import log

HANDSHAKE_SECONDS: Final = 10.0
SHUTDOWN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the chain that is shown, its key, and whom to trust on the way to other pods (None: the chain itself)."""

    certificate: Path
    key: Path
    ca: Path | None

    def read(self) -> tuple[bytes, ...]:
        """Their bytes, to know a change by. Raises OSError."""
        return tuple(path.read_bytes() for path in (self.certificate, self.key, self.ca) if path is not None)


class Tls:
    """The contexts of one process. `listening` is always the same object and gets new certificates; `hop` is replaced."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises OSError, of which ssl.SSLError is one, where the files do not fit together."""
        self._files: Final = files
        self._seen = files.read()
        self._told = self._seen
        self.listening: Final = _listening(files)
        self.hop = _hop(files)

    def look(self) -> None:
        """Use the files if they changed and fit together; files of which one is not written yet are looked at again."""
        text: tuple[bytes, ...] = ()
        try:
            text = self._files.read()
            if text == self._seen:
                return
            _listening(self._files)
            hop = _hop(self._files)
            # The same files, just tried: connections in their handshake never see one without the other.
            _show(self.listening, self._files)
        except OSError as error:
            if text != self._told:
                self._told = text
                log.warning("the TLS files do not fit together; the last ones stay", extra={"detail": error.strerror})
            return
        self._seen = text
        self.hop = hop
        log.info("TLS certificate renewed")


def _listening(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _show(context, files)
    return context


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    # An empty password: without one OpenSSL would ask a terminal for that of an encrypted key.
    context.load_cert_chain(files.certificate, files.key, password="")


def _hop(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    # A certificate of our own is trust enough: no pod needs its issuer.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(files.ca or files.certificate)
    return context
