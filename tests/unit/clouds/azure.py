"""Azurite: Microsoft's emulator of Azure Blob Storage, with its account key and shared access signatures. Holds no assertion."""

import base64
import hashlib
import hmac
import re
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

from unit.clouds.cloud import Cloud, started

ACCOUNT = "devstoreaccount1"
# Azurite's only account: its documentation publishes the key.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"
LISTENS = re.compile(r"successfully listens on http://127\.0\.0\.1:(\d+)")


def _signed(text: str) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


def shared_access(rights: str) -> str:
    """A shared access signature of the account for blobs: r read, l list, c create, w write, d delete."""
    given = {"sv": VERSION, "ss": "b", "srt": "sco", "sp": rights, "se": "2099-01-01T00:00:00Z", "spr": "https,http"}
    order = (ACCOUNT, given["sp"], given["ss"], given["srt"], "", given["se"], "", given["spr"], given["sv"], "", "")
    return "&".join(
        f"{name}={quote(value, safe='')}" for name, value in {**given, "sig": _signed("\n".join(order))}.items()
    )


@contextmanager
def running(words: Sequence[Path], folder: Path) -> Iterator[Cloud]:
    """Azurite for the length of the block, in memory."""
    options = ("--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent")
    with started([*words, *options], LISTENS, folder) as port:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"

        def new_container(name: str) -> None:
            headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
            signed_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
            text = "PUT" + 12 * "\n" + signed_headers + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
            headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signed(text)}"
            request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)
            urllib.request.urlopen(request).close()

        place = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": endpoint}
        yield Cloud(
            scheme="az",
            secret={**place, "AZURE_STORAGE_ACCOUNT_KEY": KEY},
            foreign={**place, "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"another key").decode()},
            address_key="AZURE_STORAGE_ENDPOINT",
            names_in_denial="AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
            new_bucket=new_container,
        )
