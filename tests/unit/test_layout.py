"""Facts about the tree that everything else relies on."""

import operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_operator_is_still_pythons_own() -> None:
    assert Path(operator.__file__).parent == Path(subprocess.__file__).parent
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not list((ROOT / "operator").glob("*.py"))


def test_import_operator_is_pythons_own_from_the_checkout() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.itemgetter(0)([7]))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "7"


def test_every_module_says_what_it_owns() -> None:
    roots = ("operator/modelcycle", "bundle", "training_image", "serving_image", "hack")
    silent = [
        str(path.relative_to(ROOT))
        for root in roots
        for path in (ROOT / root).rglob("*.py")
        if path.read_text().strip() and not path.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_files_stay_small() -> None:
    roots = ("operator/modelcycle", "bundle", "training_image", "serving_image", "hack", "tests")
    long = {
        str(path.relative_to(ROOT)): lines
        for root in roots
        for path in (ROOT / root).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
