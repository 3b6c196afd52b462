"""Options that several verbs of the plugin share. Owns their names and help texts."""

from enum import StrEnum
from typing import Annotated

import typer

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace of the models. Default: that of the current context."),
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig to use.")]
Kubeconfig = Annotated[str | None, typer.Option("--kubeconfig", help="Path of the kubeconfig.")]
Impersonate = Annotated[str | None, typer.Option("--as", help="User to act as, as in kubectl.", metavar="USER")]


class Output(StrEnum):
    """Form of the answer."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """For programs."""


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
Name = Annotated[str, typer.Argument(help="Name of the ModelDeployment.", metavar="NAME")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
Digest = Annotated[
    str,
    typer.Option(
        "--digest",
        help="Start of the digest it must be about, as you reviewed it; the command stops when it is another.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask the API server whether it would be taken; write nothing.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the operator's answer; 0 does not.", min=0)]
