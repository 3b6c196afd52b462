"""Prometheus' text format 0.0.4. Owns its syntax, knows no metric."""

from collections.abc import Mapping


def header(name: str, kind: str, help_text: str) -> list[str]:
    """The two lines before a metric's samples."""
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def labelled(labels: Mapping[str, str]) -> str:
    """Labels as they follow a sample's name."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
