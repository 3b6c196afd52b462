"""What `down` removes: its own mounts and files, found exactly."""

from pathlib import Path

from devcluster.dns import answered, question
from devcluster.remains import cgroup_roots, cni_results, parse_mounts

ID = "a" * 64
OTHER = "b" * 64


def test_mounts_below_the_state_come_deepest_first_and_no_others() -> None:
    table = "\n".join(
        f"{n} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for n, point in enumerate(["/", "/c/mc/kubelet", "/c/mc/kubelet/pods/x", "/c/mc2/kubelet", "/c/mc/a\\040b"])
    )
    found = parse_mounts(table, Path("/c/mc"))
    assert found == [Path("/c/mc/a b"), Path("/c/mc/kubelet/pods/x"), Path("/c/mc/kubelet")]


def test_results_of_another_cluster_are_left_alone() -> None:
    mine = [f"modelcycle-mc-{ID}-eth0", f"cni-loopback-{ID}-lo"]
    others = [f"modelcycle-mc-2-{OTHER}-eth0", f"cni-loopback-{OTHER}-lo", "bridge-config"]
    assert sorted(cni_results(mine + others, "modelcycle-mc")) == sorted(mine)


def test_each_controller_is_a_root_on_version_1_and_links_are_not(tmp_path: Path) -> None:
    for name in ("cpu", "memory"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuacct").symlink_to("cpu")
    assert cgroup_roots(tmp_path) == [tmp_path / "cpu", tmp_path / "memory"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroup_roots(tmp_path) == [tmp_path]


def test_a_name_server_must_answer_our_question_with_a_record() -> None:
    query = question("kubernetes.default.svc.cluster.local", 7)
    assert query[:2] == b"\x00\x07"
    assert b"\x0akubernetes\x07default\x03svc" in query
    reply = bytearray(query)
    reply[2] |= 0x80
    assert not answered(bytes(reply), 7)
    reply[7] = 1
    assert answered(bytes(reply), 7)
    assert not answered(bytes(reply), 8)
    reply[3] |= 3
    assert not answered(bytes(reply), 7)
    assert not answered(b"", 7)
