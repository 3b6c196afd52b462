"""What two modelcycle programs share: bundle format, signatures, profile, task contracts, metric names.

Owns the formats that cross a process boundary. Must never import a Kubernetes client, scikit-learn, onnx or onnxruntime,
and `contract`, `layout` and `metric_names` import the standard library only, because the operator imports them.
"""
