"""Two clusters and the machine's own networks never overlap."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.addresses import CANDIDATES, NodeAddresses, Ports, checked_net, choose_net, free_ports
from devcluster.commands import ClusterError
from devcluster.facts import Engine, Facts, read, reserved_nets
from devcluster.paths import Paths, cache_root, checked_name


def test_the_first_candidate_is_taken_on_an_empty_machine() -> None:
    plan = choose_net([IPv4Network("0.0.0.0/0")])
    assert (plan.node_ip, plan.pod_cidr, plan.service_cidr) == ("10.88.0.2", "10.89.0.0/16", "10.90.0.0/16")
    assert plan.dns_service_ip == "10.90.0.10"


def test_a_network_of_the_machine_is_left_alone() -> None:
    assert choose_net([IPv4Network("10.88.0.0/16"), IPv4Network("10.94.3.0/24")]).net == 96


def test_a_cluster_that_is_down_keeps_its_network(tmp_path: Path) -> None:
    first, second = Paths(tmp_path, "mc"), Paths(tmp_path, "other")
    Facts(Engine.NODE, 88).write(first.facts)
    Facts(Engine.CONTROL_PLANE, 0, Ports(1, 2, 3)).write(second.facts)
    assert reserved_nets(tmp_path, except_for="third") == [88]
    assert choose_net([], reserved_nets(tmp_path, except_for="third")).net == 92


@given(st.lists(st.integers(0, 255), max_size=40), st.lists(st.sampled_from(list(CANDIDATES)), max_size=20))
def test_a_chosen_network_is_free(taken: list[int], reserved: list[int]) -> None:
    routes = [IPv4Network(f"10.{number}.0.0/16") for number in taken]
    try:
        plan = choose_net(routes, reserved)
    except ClusterError:
        return
    assert plan.net not in reserved
    assert not any(mine.overlaps(route) for mine in plan.networks() for route in routes)


@given(st.sampled_from(list(CANDIDATES)), st.sampled_from(list(CANDIDATES)))
def test_two_candidates_never_overlap(one: int, other: int) -> None:
    if one != other:
        pairs = [(a, b) for a in NodeAddresses(one).networks() for b in NodeAddresses(other).networks()]
        assert not any(a.overlaps(b) for a, b in pairs)


def test_a_full_machine_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match="--net"):
        choose_net([IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("net", [0, -1, 254, 300])
def test_a_net_outside_of_the_range_is_refused(net: int) -> None:
    with pytest.raises(ClusterError, match=f"--net {net}"):
        checked_net(net)


def test_free_ports_differ() -> None:
    ports = free_ports()
    assert len({ports.api, ports.etcd, ports.etcd_peer}) == 3


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a-", "a_b", "abcdefghijk", "../x"])
def test_a_name_that_would_not_fit_an_interface_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="--name"):
        checked_name(name)


def test_only_the_default_cluster_writes_the_overlay(tmp_path: Path) -> None:
    assert Paths(tmp_path, "mc", tmp_path).images_env == tmp_path / "manifests/overlays/dev/images.env"
    assert Paths(tmp_path, "two", tmp_path).images_env == tmp_path / ".cluster/two.images.env"
    assert Paths(tmp_path, "two", tmp_path).kubeconfig == tmp_path / ".cluster/two.kubeconfig"


def test_the_cache_can_be_moved(tmp_path: Path) -> None:
    assert cache_root({"MODELCYCLE_CACHE": str(tmp_path), "HOME": "/h"}) == tmp_path
    assert cache_root({"HOME": "/h"}) == Path("/h/.cache/modelcycle")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"engine": "moon"}', '{"engine": "node"}'])
def test_facts_cut_short_by_a_crash_are_no_facts(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(text)
    assert read(file) is None
