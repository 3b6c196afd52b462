"""The model card, as JSON for programs and as Markdown for people, from recorded facts only.

Owns both renderings; the same facts give the same bytes. Invents nothing: a fact that nobody recorded has no line.
"""

import json
from collections.abc import Iterable

from modelcycle_bundle.facts import ModelFacts
from modelcycle_bundle.wire import JsonValue

SCHEMA = "modelcycle.dev/card/v1"


def to_json(facts: ModelFacts) -> str:
    """`card.json`: indented, sorted keys."""
    plain: dict[str, object] = {
        "schema": SCHEMA,
        "model": {
            "estimator": facts.estimator,
            "steps": list(facts.steps),
            "parameters": dict(facts.parameters),
            "task": facts.task,
            "features": list(facts.features),
            "classes": list(facts.classes),
            "acceptsMissing": facts.accepts_missing,
        },
        "data": {
            "digest": facts.data_digest,
            "target": facts.target,
            "rows": facts.rows,
            "holdoutRows": facts.holdout_rows,
            "splitSeed": facts.split_seed,
        },
        "evaluation": {"objective": facts.objective_metric, "metrics": dict(facts.metrics)},
        "artefact": {
            "onnxSha256": facts.onnx_sha256,
            "opset": facts.opset,
            "irVersion": facts.ir_version,
            **({"parityMaxDifference": facts.parity_max_difference} if facts.parity_max_difference else {}),
            "profile": facts.profile_hash,
            "goldenRows": facts.golden_rows,
        },
        "reproduce": {"trialSeed": facts.trial_seed, "libraries": dict(facts.libraries)},
    }
    if facts.imported is not None:
        plain |= {
            "data": {"digest": facts.data_digest, "rows": facts.rows, "role": "reference"},
            "imported": {
                "format": facts.imported.format,
                "sha256": facts.imported.sha256,
                "producer": facts.imported.producer,
            },
            "reproduce": {"libraries": dict(facts.libraries)},
        }
        del plain["evaluation"]
    return json.dumps(plain, sort_keys=True, indent=2, allow_nan=False) + "\n"


def accepts_missing(text: str) -> bool:
    """What a `card.json` says of rows with missing values; False where it says nothing. Raises ValueError when it is no card."""
    raw = json.loads(text)
    model = raw.get("model", {}) if isinstance(raw, dict) else None
    if not isinstance(model, dict):
        raise ValueError("expected an object with the object `model`")
    return model.get("acceptsMissing") is True


def to_markdown(facts: ModelFacts) -> str:
    """`card.md`: the same facts as tables."""
    what = f" for `{_code(facts.target)}`" if facts.target else ""
    of = f" of `{_code(facts.target)}`" if facts.target else ""
    sections = [
        f"# {_text(facts.estimator.rpartition('.')[2])}{what}\n",
        f"{facts.task.capitalize()}{of} from {len(facts.features)} features.\n{_origin(facts)}\n",
        _section("Metrics on held-out rows", ("metric", "value"), facts.metrics.items()),
        _section("Data", ("fact", "value"), _data_rows(facts)),
        _section("Model", ("fact", "value"), _model_rows(facts)),
        _section(
            "Parameters", ("parameter", "value"), ((name, _json(facts.parameters[name])) for name in facts.parameters)
        ),
        _section("Made with", ("library", "version"), facts.libraries.items()),
        "## Features\n\n" + "\n".join(f"{at}. `{_code(name)}`" for at, name in enumerate(facts.features, 1)) + "\n",
    ]
    return "\n".join(section for section in sections if section)


def _origin(facts: ModelFacts) -> str:
    if facts.imported is None:
        return f"Trained on data `{facts.data_digest}`."
    return (
        f"Imported ({_text(facts.imported.format)}, written by {_text(facts.imported.producer)}, sha256 `{facts.imported.sha256}`):"
        f" how it was trained is not known here.\nReference data `{facts.data_digest}`."
    )


def _data_rows(facts: ModelFacts) -> list[tuple[str, str]]:
    if facts.imported is not None:
        return [("rows of the reference", str(facts.rows))]
    return [
        ("rows with a label", str(facts.rows)),
        ("held out for evaluation", str(facts.holdout_rows)),
        ("seed of the split", str(facts.split_seed)),
    ]


def _model_rows(facts: ModelFacts) -> list[tuple[str, str]]:
    rows = [
        ("steps", " -> ".join(facts.steps)),
        ("ONNX opset, IR version", f"{facts.opset}, {facts.ir_version}"),
        ("sha256 of model.onnx", facts.onnx_sha256),
        ("reference profile", facts.profile_hash),
        ("golden answers", str(facts.golden_rows)),
        ("missing values", "answered" if facts.accepts_missing else "not supported"),
    ]
    if facts.imported is None:
        rows.append(("seed", str(facts.trial_seed)))
    if facts.parity_max_difference:
        rows.append(("largest difference scikit-learn to ONNX", facts.parity_max_difference))
    return rows + ([("classes", ", ".join(facts.classes))] if facts.classes else [])


def _section(title: str, head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    body = [f"| {_text(left)} | {_text(right)} |" for left, right in sorted(rows)]
    if not body:
        return ""
    return "\n".join([f"## {title}\n", f"| {head[0]} | {head[1]} |", "|---|---|", *body]) + "\n"


def _json(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)


def _text(value: str) -> str:
    """Names come from users' tables: none may break out of its cell or become markup."""
    flat = " ".join(value.split())
    return "".join("\\" + char if char in "|\\`*_<>[]#" else char for char in flat)


def _code(value: str) -> str:
    return " ".join(value.split()).replace("`", "'")
