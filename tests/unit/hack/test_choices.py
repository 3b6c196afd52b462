"""CLUSTER, prerequisites and versions: what is chosen, and what the user is told."""

import pytest

from devcluster import prerequisites
from devcluster.binaries import KUBERNETES, link_flags
from devcluster.cli import parser
from devcluster.commands import ClusterError
from devcluster.engines import Choice, engine_for
from devcluster.facts import Engine
from devcluster.prerequisites import Need
from devcluster.toolchain import NEEDED_GO, parse_go_version


def choice(cluster: str = "", *, control_plane_only: bool = False) -> Choice:
    return Choice(control_plane_only, None, {"CLUSTER": cluster})


@pytest.mark.parametrize(
    ("asked", "has_kind", "expected"),
    [
        ("", True, Engine.KIND),
        ("", False, Engine.NODE),
        ("node", True, Engine.NODE),
        ("kind", False, Engine.KIND),
        ("existing", True, Engine.EXISTING),
    ],
)
def test_the_engine_follows_the_wish_then_the_machine(asked: str, has_kind: bool, expected: Engine) -> None:
    assert engine_for(choice(asked), None, lambda: has_kind) is expected


def test_a_control_plane_alone_needs_no_engine() -> None:
    assert engine_for(choice(control_plane_only=True), None, lambda: True) is Engine.CONTROL_PLANE


def test_a_cluster_that_exists_stays_what_it_is() -> None:
    assert engine_for(choice(), Engine.NODE, lambda: True) is Engine.NODE


def test_another_wish_for_a_cluster_that_exists_is_refused_with_the_way_out() -> None:
    with pytest.raises(ClusterError, match=r"begun as node, not kind(.|\n)*down --purge"):
        engine_for(choice("kind"), Engine.NODE, lambda: True)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="CLUSTER=minikube: use one of node, kind, existing"):
        engine_for(choice("minikube"), None, lambda: False)


def test_missing_prerequisites_are_named_together_with_one_command() -> None:
    needs = (
        Need("nft", "nftables"),
        Need("ip", "iproute2"),
        Need("/usr/lib/cni/bridge", "containernetworking-plugins"),
    )
    lacking = prerequisites.missing((*needs, needs[0]), has=lambda need: need.what == "ip")
    text = prerequisites.message(lacking)
    assert "lacks nft, bridge" in text
    assert "apt-get install -y --no-install-recommends containernetworking-plugins nftables" in text


def test_programs_are_looked_for_in_the_administrators_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert prerequisites.present(Need("ldconfig", "libc-bin"))
    assert not prerequisites.present(Need("no-such-program", "none"))


def test_a_node_without_root_names_the_ways_that_work() -> None:
    with pytest.raises(ClusterError, match=r"sudo(.|\n)*CLUSTER=kind"):
        prerequisites.require_root(1000)
    prerequisites.require_root(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/arm64", (1, 27, 0)),
        ("go version devel +abc", None),
    ],
)
def test_go_versions(text: str, expected: tuple[int, int, int] | None) -> None:
    assert parse_go_version(text) == expected


def test_a_go_that_is_too_old_is_told_from_one_that_is_not() -> None:
    old = parse_go_version("go version go1.26.5 linux/amd64")
    assert old is not None
    assert old < NEEDED_GO


def test_kubernetes_reports_the_version_that_is_pinned() -> None:
    flags = link_flags(KUBERNETES, "require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n\tk8s.io/api v0.36.3\n)")
    assert "gitVersion=v1.36.3" in flags
    assert "gitMajor=1" in flags
    assert "gitMinor=36" in flags


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    commands = ("build", "up", "down", "status", "images", "store", "prometheus", "kubeconfig")
    assert all(name in text for name in (*commands, "CLUSTER"))
