"""Answers of an ONNX model, computed with the model server's options. Never imports scikit-learn."""

from typing import Any

import numpy as np

from modelcycle_bundle.outputs import Float32, Outputs, from_arrays


def open_session(model: bytes) -> Any:
    """An onnxruntime session, single-threaded, telemetry off, CPU: so that answers equal the server's bit for bit.

    Raises whatever onnxruntime raises.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised as well; its texts may quote inputs
    return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])


class OnnxModel:
    """One loaded model."""

    def __init__(self, model: bytes) -> None:
        self._session = open_session(model)
        self._input: str = self._session.get_inputs()[0].name
        self._outputs = tuple(output.name for output in self._session.get_outputs())

    def answer(self, inputs: Float32) -> Outputs:
        """Answers for rows [N, F]. Raises OutputError, and whatever onnxruntime raises."""
        answers = self._session.run(None, {self._input: np.ascontiguousarray(inputs, dtype=np.float32)})
        return from_arrays(dict(zip(self._outputs, answers, strict=True)))
