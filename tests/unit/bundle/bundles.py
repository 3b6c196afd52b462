"""Builds sealed bundles in a folder, for the tests of the fetch step. Holds no assertion."""

from dataclasses import dataclass
from pathlib import Path

from modelcycle_bundle import keys, layout, oms, provenance
from modelcycle_bundle.contract import FetchTask, SealTask

FILES = {
    layout.MODEL_FILE: bytes(range(256)) * 1024,
    layout.PROFILE_FILE: b"{}\n",
    layout.GOLDEN_FILE: b"{}\n",
    layout.CARD_JSON_FILE: b"{}\n",
    layout.CARD_MD_FILE: b"",
    layout.BOM_FILE: b"{}\n",
}


@dataclass(frozen=True)
class Sealed:
    """A published bundle: where, of which digest, by which key."""

    folder: Path
    digest: str
    key: keys.KeyPair

    @property
    def task(self) -> FetchTask:
        return FetchTask(uri=f"file://{self.folder}", digest=self.digest)

    @property
    def signature(self) -> Path:
        return next((self.folder / layout.SIGNATURES_DIR).iterdir())

    @property
    def statement(self) -> Path:
        return next((self.folder / layout.PROVENANCE_DIR).iterdir())


def write_bundle(folder: Path, key: keys.KeyPair, files: dict[str, bytes] | None = None) -> Sealed:
    """A complete bundle signed with `key`."""
    for name, data in (files or FILES).items():
        target = folder / layout.MODEL_DIR / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    manifest = oms.digest_directory(folder / layout.MODEL_DIR)
    signature = folder / layout.SIGNATURES_DIR / f"{keys.hint(key.public_pem)}.sig"
    signature.parent.mkdir()
    signature.write_bytes(oms.sign(manifest, key.private_pem))
    statement = folder / layout.PROVENANCE_DIR / layout.provenance_file("uid-1", 3)
    statement.parent.mkdir()
    statement.write_bytes(
        provenance.seal(provenance.statement(seal_task(manifest.root), manifest.root), key.private_pem)
    )
    return Sealed(folder, manifest.root, key)


def seal_task(digest: str) -> SealTask:
    """A task whose candidate has `digest`."""
    return SealTask(
        experiment="scrap",
        experiment_uid="uid-1",
        index=3,
        candidate_digest=digest,
        data_digest="sha256:" + "d" * 64,
        data_uri="s3://factory/scrap.csv",
        output_uri="s3://models/scrap",
        image_id="registry.example/training@sha256:" + "e" * 64,
        external_parameters={"assignment": {"learning_rate": "0.1"}},
    )
