"""The verbs of the plugin beside keygen, as people type them. Owns words, examples and exit codes.

Exit code 0: taken, or already asked for; 1: refused, by the API server, by the operator or because it makes no sense now.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from modelcycle.api.rollout import Verb
from modelcycle.cli import requests, views
from modelcycle.cli.keygen import OPERATOR_NAMESPACE
from modelcycle.cli.kubectl import Kubectl, KubectlError, NotAllowed
from modelcycle.cli.options import (
    Context,
    Digest,
    DryRun,
    Impersonate,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    OutputOption,
    Reason,
    Wait,
)
from modelcycle.cli.requests import Asked, Refusal, Target, Wanted
from modelcycle.cli.silence import silence
from modelcycle.cli.views import Entry

if TYPE_CHECKING:
    from modelcycle.cli.status import Overview
    from modelcycle.deployment.evidence_entries import Found

ANSWER_SECONDS: Final = 10.0
"""How long a verb waits for the operator by default."""
_POLL_SECONDS: Final = 0.5
_KINDS: Final = "modeldeployments.modelcycle.dev,experiments.modelcycle.dev,driftmonitors.modelcycle.dev"
_WORDS: Final = {
    "modeldeployment": ("modeldeployment", "modeldeployments", "mdep"),
    "experiment": ("experiment", "experiments"),
    "driftmonitor": ("driftmonitor", "driftmonitors", "drift"),
}


def status(
    *,
    namespace: Namespace = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks with --watch.", min=0.2)] = 2.0,
    output: OutputOption = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show rollouts, experiments and drift.

    HARM (E) is the evidence that the canary fails more often than what serves: full, it is taken back. NO HARM (P) is the evidence that
    it does no harm: full, it is promoted. NEEDED is how many more canary requests that takes at the rates so far, ETA how long.

    \b
    Examples:
      kubectl modelcycle status -n plant-7
      kubectl modelcycle status -n plant-7 --watch
      kubectl modelcycle status -n plant-7 -o json
    """
    from rich.console import Console
    from rich.live import Live

    from modelcycle.cli import status as table

    kubectl = Kubectl(context=context, kubeconfig=kubeconfig)
    with _exit_code():
        where = namespace or kubectl.current_namespace()
        console = Console(highlight=False)
        seen = _overview(kubectl, where)
        if output is Output.JSON:
            typer.echo(json.dumps(asdict(seen), indent=2, ensure_ascii=False))
        elif not watch:
            console.print(table.render(seen, console.width))
        else:
            with Live(table.render(seen, console.width), console=console, auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    try:
                        seen = _overview(kubectl, where)
                        live.update(table.render(seen, console.width), refresh=True)
                    except KubectlError as error:
                        live.update(f"{error}\n(tried again every {interval:g} s)", refresh=True)


def _overview(kubectl: Kubectl, namespace: str) -> "Overview":
    from modelcycle.cli import status as table

    objects = kubectl.list(_KINDS, namespace)
    return table.overview(namespace, objects, _silence(kubectl, objects))


def _silence(kubectl: Kubectl, objects: Sequence[views.Object]) -> str:
    """That the operator does not answer, or "". Its pods are read where the user may."""
    try:
        pods = kubectl.list("pods", OPERATOR_NAMESPACE, "--selector", "app.kubernetes.io/component=operator")
    except KubectlError:
        pods = None
    return silence(objects, pods, datetime.now(UTC))


def _evidence(kubectl: Kubectl, obj: views.Object) -> "Found":
    """The evidence of a rollout, or why it cannot be read here."""
    from modelcycle.cli import evidence
    from modelcycle.deployment.evidence_entries import Found

    name = evidence.place(obj)
    try:
        config_map = kubectl.get("configmap", obj["metadata"]["namespace"], name) if name else None
    except KubectlError as error:
        return Found(problem=f"ConfigMap {name}: {error}")
    return evidence.found(obj, config_map)


def explain(
    what: Annotated[str, typer.Argument(help="NAME, or KIND/NAME such as experiment/scrap.", metavar="[KIND/]NAME")],
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say why an object is what it is.

    With the numbers it was decided on, and what would make it go on.
    A name alone explains every ModelDeployment, Experiment and DriftMonitor of that name.

    \b
    Examples:
      kubectl modelcycle explain scrap -n plant-7
      kubectl modelcycle explain driftmonitor/scrap -n plant-7
    """
    from modelcycle.cli import explain as words

    kubectl = Kubectl(context=context, kubeconfig=kubeconfig)
    with _exit_code():
        where = namespace or kubectl.current_namespace()
        kinds, name = _named(what)
        found = [kubectl.get(f"{kind}.modelcycle.dev", where, name) for kind in kinds]
        objects = [obj for obj in found if obj is not None]
        silent = _silence(kubectl, objects)
        explanations = [words.explain(obj, silent, _evidence(kubectl, obj)) for obj in objects]
        if not explanations:
            raise Refusal(f"no {' or '.join(kinds)} {name} in namespace {where} (-n names another)")
        if output is Output.JSON:
            typer.echo(json.dumps([e.as_json() for e in explanations], indent=2, ensure_ascii=False))
        else:
            typer.echo("\n\n\n".join(e.as_text() for e in explanations))


def promote(
    name: Name,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="End all steps and wait for no evidence. Needs --reason.")
    ] = False,
    namespace: Namespace = None,
    reason: Reason = "",
    digest: Digest = "",
    dry_run: DryRun = False,
    wait: Wait = ANSWER_SECONDS,
    output: OutputOption = Output.TEXT,
    impersonate: Impersonate = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """End the current step of a canary.

    The evidence for the last promotion is still waited for.

    \b
    Examples:
      kubectl modelcycle promote scrap -n plant-7
      kubectl modelcycle promote scrap -n plant-7 --full --reason "stable has a known fault"
    """
    if full and not reason.strip():
        _fail("--full promotes without evidence: say why with --reason, it is kept in status.requests")
    kubectl = Kubectl(context=context, kubeconfig=kubeconfig, impersonate=impersonate)
    order = _Order(Verb.PROMOTE_FULL if full else Verb.PROMOTE, reason, digest, dry_run, wait, output)
    _carry_out(kubectl, namespace, name, order)


def command(verb: Verb) -> Callable[..., None]:
    """The command of a verb without options of its own."""

    def run(
        name: Name,
        *,
        namespace: Namespace = None,
        reason: Reason = "",
        digest: Digest = "",
        dry_run: DryRun = False,
        wait: Wait = ANSWER_SECONDS,
        output: OutputOption = Output.TEXT,
        impersonate: Impersonate = None,
        context: Context = None,
        kubeconfig: Kubeconfig = None,
    ) -> None:
        kubectl = Kubectl(context=context, kubeconfig=kubeconfig, impersonate=impersonate)
        _carry_out(kubectl, namespace, name, _Order(verb, reason, digest, dry_run, wait, output))

    run.__doc__ = HELP[verb]
    return run


HELP: Final = {
    Verb.ABORT: """Take the canary back.

    What served goes on serving, and the canary's digest is remembered as rejected.

    \b
    Example:
      kubectl modelcycle abort scrap -n plant-7 --reason "line 3 reports odd scores"
    """,
    Verb.RETRY: """Try a rejected model anew.

    From zero evidence: the one that the spec names, else the one rejected last.

    \b
    Examples:
      kubectl modelcycle retry scrap -n plant-7 --reason "the store was down"
      kubectl modelcycle retry scrap -n plant-7 --digest 77aa01c4
    """,
    Verb.UNDO: """Go back to what served before.

    The operator answers whether it can; asking for the earlier digest in spec.model always works, at once within the guard window.

    \b
    Example:
      kubectl modelcycle undo scrap -n plant-7 --reason "customers complain"
    """,
    Verb.APPROVE: """Agree that the canary gets requests.

    Under your own name; needs the verb approve (role modelcycle-approve). Name the digest that you
    reviewed: another canary that came up meanwhile is not approved then.

    A whole digest (sha256:...) can be approved before its pods are there.

    \b
    Examples:
      kubectl modelcycle approve scrap -n plant-7 --digest 41d0c2f3
      kubectl auth can-i approve modeldeployments.modelcycle.dev/scrap -n plant-7
    """,
}
"""What `--help` says; the commands are called as the verbs in lower case."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A verb with its options."""

    verb: Verb
    reason: str
    digest: str
    dry_run: bool
    wait: float
    output: Output


def _carry_out(kubectl: Kubectl, namespace: str | None, name: str, order: _Order) -> None:
    with _exit_code():
        target = Target(namespace or kubectl.current_namespace(), name)
        wanted = Wanted(order.verb, kubectl.whoami(), order.reason, order.digest)
        options = ("--dry-run=server",) if order.dry_run else ()
        asked = requests.ask(kubectl, target, wanted, _new_id, *options)
        done = None if order.dry_run else _answer(kubectl, target, asked.entry.id, order.wait)
    entry = done or asked.entry
    if order.output is Output.JSON:
        typer.echo(json.dumps({**asdict(entry), "new": asked.is_new, "dryRun": order.dry_run}, ensure_ascii=False))
    else:
        typer.echo(_said(target, asked, done, order))
    if entry.result == "Refused":
        raise typer.Exit(1)


def _said(target: Target, asked: Asked, done: Entry | None, order: _Order) -> str:
    entry = asked.entry
    what = f"modeldeployment/{target.name}: {entry.verb} of {views.short(entry.digest)}"
    if not asked.is_new:
        what = f"{what} was asked for by {entry.by} already"
    elif order.dry_run:
        return f"{what} by {entry.by} would be taken (dry run: nothing was written)"
    else:
        what = f"{what} asked for by {entry.by}"
    if done is not None:
        return f"{what}: {done.result.lower()}" + (f": {done.message}" if done.message else "")
    later = f"; no answer of the operator within {order.wait:g} s" if order.wait else ""
    return f"{what} (id {entry.id}){later}"


def _answer(kubectl: Kubectl, target: Target, identity: str, seconds: float) -> Entry | None:
    """What became of an entry, waiting for it."""
    deadline = time.monotonic() + seconds
    while seconds:
        done = next((e for e in views.executed(requests.find(kubectl, target)) if e.id == identity), None)
        if done is not None or time.monotonic() >= deadline:
            return done
        time.sleep(_POLL_SECONDS)
    return None


def _new_id() -> str:
    return requests.new_id(datetime.now(UTC), secrets.token_bytes(3))


def _named(what: str) -> tuple[tuple[str, ...], str]:
    """Kinds and name of `NAME` or `KIND/NAME`. Raises Refusal."""
    kind, slash, name = what.rpartition("/")
    if not slash:
        return tuple(_WORDS), name
    for known, words in _WORDS.items():
        if kind.lower().removesuffix(".modelcycle.dev") in words:
            return (known,), name
    raise Refusal(f"{kind} is none of {', '.join(_WORDS)}")


@contextmanager
def _exit_code() -> Iterator[None]:
    """What went wrong as words for people and exit code 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except NotAllowed as error:
        _fail(str(error).rpartition("denied request: ")[2])
    except (KubectlError, Refusal) as error:
        _fail(str(error))


def _fail(words: str) -> NoReturn:
    typer.echo(f"error: {words}", err=True)
    raise typer.Exit(1)
