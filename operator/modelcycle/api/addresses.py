"""Addresses that the schema takes and no store can have: they would be looked for again and again and never found. Pure.

The rules are those of modelcycle_bundle.store, which the operator does not carry.
"""

from typing import Final

ODD: Final = ("", ".", "..")


def why_no_table(uri: str) -> str:
    """Why no table can lie there; empty when one can."""
    folder, _, name = _path(uri).rpartition("/")
    return "it names a folder, not a table" if name in ODD else _why_no_path(folder)


def why_no_folder(uri: str) -> str:
    """Why no folder can be there; empty when one can."""
    return _why_no_path(_path(uri))


def _path(uri: str) -> str:
    return uri.partition("://")[2].partition("/")[2]


def _why_no_path(path: str) -> str:
    parts = path.strip("/").split("/") if path.strip("/") else []
    return "the path has an empty, '.' or '..' part" if any(part in ODD for part in parts) else ""
