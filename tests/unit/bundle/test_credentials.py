"""Secrets are named by users: their keys are credentials and nothing else."""

from modelcycle_bundle import credentials


def test_keys_of_a_store_secret_are_taken_by_name() -> None:
    given = {"STORE_AWS_REGION": "x", "STORE_GOOGLE_SERVICE_ACCOUNT": "y", "STORE_HTTPS_PROXY": "z", "AWS_PROFILE": "p"}
    assert credentials.of_store(given) == {"AWS_REGION": "x", "GOOGLE_SERVICE_ACCOUNT": "y", "HTTPS_PROXY": "z"}


def test_keys_that_would_change_which_program_runs_or_what_it_is_told_stay_unread() -> None:
    names = (
        "LD_PRELOAD",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "OPENSSL_CONF",
        "MODELCYCLE_TASK",
        "MODELCYCLE_TERMINATION_LOG",
        "PATH",
    )
    assert credentials.of_store({f"STORE_{name}": "/pvc/evil" for name in names}) == {}
