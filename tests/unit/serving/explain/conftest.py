"""The environment with shap, made on first use: it needs numba and pandas, which nothing else here does."""

from pathlib import Path

import pytest

import environments


@pytest.fixture(scope="session")
def shap_python() -> str:
    return str(environments.made("shap", Path(__file__).with_name("requirements.txt")) / "bin/python")
