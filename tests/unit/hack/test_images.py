"""Images are rebuilt exactly when their inputs change, and only missing layers travel."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from devcluster.buildah import Built
from devcluster.containerd_images import blobs_of, pinned_name, write_archive
from devcluster.image_specs import PROGRAM_IMAGES, Image, content_hash, images_env

IMAGE = Image("probe", "a/Dockerfile", ("a/Dockerfile", "a/src", "b"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {"a/Dockerfile": "FROM x", "a/src/m.py": "x = 1", "b/n.py": "y = 2", "c/other.py": "z"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("changed", ["a/src/m.py", "a/Dockerfile", "b/n.py", "b/deep/new.py"])
def test_a_changed_input_changes_the_hash(tree: Path, changed: str) -> None:
    before = content_hash(IMAGE, repository=tree)
    write(tree / changed, "changed")
    assert content_hash(IMAGE, repository=tree) != before


@pytest.mark.parametrize("changed", ["c/other.py", "a/README.md", "a/src/__pycache__/m.cpython-311.pyc"])
def test_what_is_no_input_does_not(tree: Path, changed: str) -> None:
    before = content_hash(IMAGE, repository=tree)
    write(tree / changed, "changed")
    assert content_hash(IMAGE, repository=tree) == before


def test_a_moved_line_between_two_files_is_a_change(tree: Path) -> None:
    before = content_hash(IMAGE, repository=tree)
    (tree / "a/src/m.py").rename(tree / "a/src/n.py")
    assert content_hash(IMAGE, repository=tree) != before


def test_the_base_is_an_input() -> None:
    assert content_hash(IMAGE, ["bookworm"]) != content_hash(IMAGE, ["trixie"])


def test_every_program_image_has_its_line() -> None:
    digests = {image.tag: f"localhost/modelcycle-{image.name}@sha256:{image.name}" for image in PROGRAM_IMAGES}
    assert images_env(digests).splitlines() == [
        "MODELCYCLE_OPERATOR_IMAGE=localhost/modelcycle-operator@sha256:operator",
        "MODELCYCLE_TRAINING_IMAGE=localhost/modelcycle-training@sha256:training",
        "MODELCYCLE_SERVING_IMAGE=localhost/modelcycle-serving@sha256:serving",
    ]


def blob(folder: Path, body: bytes) -> str:
    number = hashlib.sha256(body).hexdigest()
    (folder / number).write_bytes(body)
    return f"sha256:{number}"


@pytest.fixture
def built(tmp_path: Path) -> Built:
    layers = [{"digest": blob(tmp_path, body)} for body in (b"base", b"libraries", b"code")]
    config = {"digest": blob(tmp_path, b"{}")}
    manifest = json.dumps(
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    )
    (tmp_path / "manifest.json").write_text(manifest)
    return Built(IMAGE, tmp_path, "sha256:" + hashlib.sha256(manifest.encode()).hexdigest())


def archived(built: Built, held: set[str]) -> dict[str, bytes]:
    stream = io.BytesIO()
    write_archive(built, held, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_layers_that_the_node_has_do_not_travel_again(built: Built) -> None:
    base, libraries, code, config, manifest = blobs_of(built)
    files = archived(built, {base, libraries, config, manifest})
    sent = {name.replace("blobs/sha256/", "sha256:") for name in files if name.startswith("blobs/")}
    assert sent == {code, config, manifest}
    for name, body in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(body).hexdigest() == name.rpartition("/")[2]


def test_the_archive_names_the_image_and_its_manifest(built: Built) -> None:
    index = json.loads(archived(built, set())["index.json"])
    (entry,) = index["manifests"]
    assert entry["digest"] == built.digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/modelcycle-probe:dev"
    assert pinned_name(built) == f"localhost/modelcycle-probe@{built.digest}"
