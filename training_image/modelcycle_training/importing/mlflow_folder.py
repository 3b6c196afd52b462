"""An MLflow model folder: what its MLmodel file says, and the scikit-learn estimator or ONNX file inside.

Owns the layout, which is MLflow's. Never imports mlflow. Unpickling runs code of whoever made the file, so it is done only when the user
has said so; the format skops runs none, but some of its types can be made to do harm, and for those the same holds.
"""

import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelcycle_training.failures import TaskFailed
from modelcycle_training.importing.failures import cannot

MODEL_FILE: Final = "MLmodel"
SKOPS: Final = "skops"
_FORMATS: Final = ("pickle", "cloudpickle", SKOPS)


@dataclass(frozen=True, slots=True)
class MlflowModel:
    """One flavour of a model folder."""

    flavour: str
    """`onnx` or `sklearn`."""
    path: Path
    """The flavour's file."""
    library_version: str
    features: tuple[str, ...]
    """Columns of the signature in their order; empty when there is none."""
    serialization: str = ""
    """How an estimator is saved."""


def read(folder: Path) -> MlflowModel:
    """Raises TaskFailed."""
    import yaml

    file = folder / MODEL_FILE
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot(
            f"{file} cannot be read ({type(error).__name__}): --mlflow is the folder that holds {MODEL_FILE}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise cannot(f"{file} is not YAML") from error
    flavours = plain.get("flavors") if isinstance(plain, dict) else None
    if not isinstance(flavours, dict):
        raise cannot(f"{file} names no flavors: is it the {MODEL_FILE} of a model?")
    features = _features(plain.get("signature"))
    onnx, sklearn = flavours.get("onnx"), flavours.get("sklearn")
    if isinstance(onnx, dict):
        return MlflowModel("onnx", _inside(folder, onnx.get("data")), str(onnx.get("onnx_version", "")), features)
    if not isinstance(sklearn, dict):
        others = ", ".join(sorted(str(each) for each in flavours if each != "python_function"))
        raise cannot(
            f"the model has no scikit-learn or ONNX flavour, but {others or 'none'}: log it with mlflow.sklearn"
        )
    wanted = sklearn.get("serialization_format", "pickle")
    if wanted not in _FORMATS:
        raise cannot(f"the estimator is saved as {wanted!r}: known are {', '.join(_FORMATS)}")
    path = _inside(folder, sklearn.get("pickled_model"))
    return MlflowModel("sklearn", path, str(sklearn.get("sklearn_version", "")), features, wanted)


def estimator(model: MlflowModel, *, trusted: bool) -> Any:
    """The fitted estimator. `trusted`: the user lets the file run code. Raises TaskFailed."""
    load = _from_skops if model.serialization == SKOPS else _from_pickle
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions, which are told below when they matter
            return load(model.path, trusted=trusted)
    except TaskFailed:
        raise
    except Exception as error:  # code from the file raises whatever it likes
        import sklearn

        raise cannot(
            f"{model.path.name} cannot be loaded ({type(error).__name__}): it was made with scikit-learn"
            f" {model.library_version or 'of an unknown version'}, here is {sklearn.__version__}; are its packages installed?"
        ) from error


def _from_pickle(path: Path, *, trusted: bool) -> Any:
    if not trusted:
        raise cannot(
            f"{path.name} is a pickled estimator, and unpickling runs code from the file:"
            " if you trust where it comes from, say --allow-unpickle"
        )
    return pickle.loads(path.read_bytes())


def _from_skops(path: Path, *, trusted: bool) -> Any:
    from skops import io

    unknown = io.get_untrusted_types(file=path)
    if unknown and not trusted:
        raise cannot(
            f"{path.name} holds types that a forged file could do harm with ({', '.join(unknown[:5])}):"
            " if you trust where it comes from, say --allow-unpickle"
        )
    return io.load(path, trusted=unknown)


def _inside(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or not name:
        raise cannot(f"{MODEL_FILE} names no file for its flavour")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise cannot(f"{MODEL_FILE} names a file outside of its folder")
    if not path.is_file():
        raise cannot(f"{path} is missing: copy the whole model folder")
    return path


def _features(signature: Any) -> tuple[str, ...]:
    text = signature.get("inputs") if isinstance(signature, dict) else None
    try:
        columns = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return ()
    names = [each.get("name") for each in columns if isinstance(each, dict)] if isinstance(columns, list) else []
    return tuple(str(name) for name in names) if names and all(isinstance(name, str) for name in names) else ()
