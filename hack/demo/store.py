"""The development store component: its credentials and a door to it from outside the cluster. Owns no data."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from demo.kubectl import Kubectl
from modelcycle_bundle.store import Store, open_store

NAMESPACE: Final = "modelcycle-store"
PORT: Final = 7070
DATA_BUCKET: Final = "factory"
MODEL_BUCKET: Final = "models"


def environment(kubectl: Kubectl) -> dict[str, str]:
    """What goes into the Secret `modelcycle-store`: the component's credentials and its in-cluster endpoint."""
    inside = replace(kubectl, namespace=NAMESPACE)
    data = json.loads(inside.run("get", "secret", "store-root", "-o", "json"))["data"]
    root = {name: base64.b64decode(value).decode() for name, value in data.items()}
    return {
        "AWS_ACCESS_KEY_ID": root["ROOT_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": root["ROOT_SECRET_KEY"],
        "AWS_ENDPOINT_URL": f"http://store.{NAMESPACE}.svc:{PORT}",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def opened(kubectl: Kubectl, credentials: Mapping[str, str]) -> Iterator[tuple[Store, Store]]:
    """The data bucket and the model bucket, through a forwarded port, for the length of the block."""
    with replace(kubectl, namespace=NAMESPACE).forward("svc/store", PORT) as port:
        local = {**credentials, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        yield open_store(f"s3://{DATA_BUCKET}", local), open_store(f"s3://{MODEL_BUCKET}", local)
