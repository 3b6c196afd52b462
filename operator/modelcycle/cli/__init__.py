"""The kubectl plugin `kubectl modelcycle`: what people type. Uses the user's own kubectl, with the user's own rights.

Owns the words and exit codes. Never imports a Kubernetes client, and never puts key material into an argument, an error or a log.
"""

from typing import Annotated

import typer

from modelcycle import __version__
from modelcycle.api.rollout import Verb
from modelcycle.cli import keygen as keygen_verb
from modelcycle.cli import verbs
from modelcycle.cli.kubectl import Kubectl, KubectlError
from modelcycle.cli.options import Context, Kubeconfig, Namespace

app = typer.Typer(
    name="kubectl-modelcycle",
    help="Work with modelcycle's Experiments, ModelDeployments and DriftMonitors.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(verbs.status)
app.command()(verbs.explain)
app.command()(verbs.promote)
for _verb in verbs.HELP:
    # Undo is refused by every operator so far: not offered before it works.
    app.command(_verb.lower(), hidden=_verb is Verb.UNDO)(verbs.command(_verb))


@app.command()
def version() -> None:
    """Print the version of this plugin."""
    typer.echo(f"modelcycle {__version__}")


@app.command()
def keygen(
    *,
    namespace: Namespace = None,
    secret: Annotated[str, typer.Option(help="Name of the Secret to make.")] = keygen_verb.SECRET,
    operator_namespace: Annotated[
        str, typer.Option(help="Namespace of the operator, where trust is kept.")
    ] = keygen_verb.OPERATOR_NAMESPACE,
    print_only: Annotated[
        bool,
        typer.Option("--print", help="Print Secret and trust entry as YAML instead, for GitOps. Nothing is sent."),
    ] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make and trust a namespace's signing key.

    Makes a P-256 key in the Secret (private.pem, public.pem), and adds the public half to the ConfigMap modelcycle-trust of the
    operator's namespace. Can be repeated: an existing Secret is kept. Exits 0 when Secret and trust entry are both there.
    """
    kubectl = Kubectl(context=context, kubeconfig=kubeconfig)
    try:
        where = keygen_verb.Place(namespace or kubectl.current_namespace(), secret, operator_namespace)
        if print_only:
            typer.echo(keygen_verb.manifests(where), nl=False)
            typer.echo("# The Secret holds a private key: encrypt it before it goes into a repository.", err=True)
            return
        keygen_verb.run(kubectl, where, typer.echo)
    except keygen_verb.TrustNotWritten as error:
        typer.echo(f"error: {error}", err=True)
        typer.echo(error.entry, nl=False)
        raise typer.Exit(1) from error
    except (KubectlError, keygen_verb.KeygenError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
