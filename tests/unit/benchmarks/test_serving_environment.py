"""What is measured is what ships: the environment lacks what the serving image removes."""

from pathlib import Path

from benchmarks.serving.environments import ROOT, Environment, removed


def test_what_the_image_removes_is_read_from_its_dockerfile() -> None:
    patterns = removed((ROOT / "serving_image/Dockerfile").read_text())

    assert {"numpy/tests", "pip"} <= set(patterns)
    assert not any(pattern.startswith(("/", "..", "&", "#")) for pattern in patterns)


def test_a_size_is_of_packages_without_what_installs_them(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for name, size in (("numpy", 3), ("pip", 90), ("setuptools", 90)):
        (site / name).mkdir(parents=True)
        (site / name / "a.py").write_bytes(b"x" * (size << 20))
    (tmp_path / "src").mkdir()
    (tmp_path / "src/b.py").write_bytes(b"x" * (1 << 20))

    assert Environment(tmp_path).size_mib() == 4
