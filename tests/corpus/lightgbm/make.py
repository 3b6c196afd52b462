"""How the files of this folder were made: a model of LightGBM as its users convert it, and what LightGBM says of 20 rows.

Run by hand, in an environment with lightgbm 4.7.0, onnxmltools 1.16.0, onnx 1.19 and scikit-learn; none of them is needed to run the test.
"""

import json
from pathlib import Path

import lightgbm  # type: ignore[import-not-found]
import numpy as np
from onnxmltools import convert_lightgbm  # type: ignore[import-not-found]
from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-not-found]

HERE = Path(__file__).parent
ROWS = 20

table = np.random.default_rng(11).normal(size=(300, 3)).astype(np.float32)
target = (table.sum(axis=1) > 0.2).astype(int)
model = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=6, verbose=-1).fit(table, target)
# With ZipMap, the converter's default, which makes a list of dictionaries of the answers.
converted = convert_lightgbm(model, initial_types=[("input", FloatTensorType([None, 3]))], target_opset=15)
(HERE / "model.onnx").write_bytes(converted.SerializeToString())
said = {
    "probabilities": model.predict_proba(table[:ROWS])[:, 1].tolist(),
    "contributions": model.predict(table[:ROWS], pred_contrib=True).tolist(),
}
(HERE / "said.json").write_text(json.dumps(said, indent=1) + "\n")
