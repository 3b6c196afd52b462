"""`make lock`: compile the pyproject files to hash-pinned requirements, one per image, one for development, one for the clients of others
that the server is tested with, one per peer of a benchmark.

Owns requirements*.txt. Needs `uv` (pip install uv). Writes no index or download address.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTIONS = (
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--python-version=3.11",
    "--python-platform=x86_64-manylinux_2_28",
    "--quiet",
)


def requirements(project: Path) -> list[str]:
    """Third-party dependencies of one pyproject file, with those of the bundle package where it asks for it."""
    table = tomllib.loads(project.read_text())["project"]
    own = [d for d in table["dependencies"] if not d.startswith("modelcycle-")]
    own += table.get("optional-dependencies", {}).get("operator", [])
    if any("[trust" in d for d in table["dependencies"]):
        extras = tomllib.loads((ROOT / "bundle/pyproject.toml").read_text())["project"]["optional-dependencies"]
        own += [d for extra in extras.values() for d in extra]
    return own


def compile_to(wanted: list[str], target: Path, *constraints: str) -> None:
    """Resolve and write one requirements file."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as source:
        source.write("\n".join(sorted(set(wanted))) + "\n")
        source.flush()
        subprocess.run(["uv", "pip", "compile", *OPTIONS, *constraints, source.name, "-o", str(target)], check=True)
    sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")


def main() -> None:
    """Development first; the images are constrained by it, so that tests run what ships."""
    if not shutil.which("uv"):
        sys.exit("uv is not installed: pip install uv")
    projects = {"operator": ROOT / "pyproject.toml"}
    projects |= {name: ROOT / name / "pyproject.toml" for name in ("training_image", "serving_image")}
    wanted = {name: requirements(project) for name, project in projects.items()}
    groups = tomllib.loads(projects["operator"].read_text())["dependency-groups"]
    compile_to([*groups["dev"], *(d for group in wanted.values() for d in group)], ROOT / "requirements-dev.txt")
    for name, group in wanted.items():
        compile_to(group, ROOT / name / "requirements.txt", f"--constraints={ROOT / 'requirements-dev.txt'}")
    # Clients and peers are as their users install them: nothing of ours constrains them.
    compile_to(groups["clients"], ROOT / "tests/unit/serving/clients/requirements.txt")
    # It unpickles estimators of ours, so it has our scikit-learn.
    shap = ROOT / "tests/unit/serving/explain/requirements.txt"
    compile_to(groups["shap"], shap, f"--constraints={ROOT / 'requirements-dev.txt'}")
    for name in sorted(groups.keys() - {"dev", "clients", "shap"}):
        compile_to(groups[name], ROOT / "tests/benchmarks/serving" / f"requirements-{name.removeprefix('bench-')}.txt")


if __name__ == "__main__":
    main()
