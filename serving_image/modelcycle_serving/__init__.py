"""The model server: Open Inference Protocol v2 over HTTP, exact counters, verified bundles only.

Must never import scikit-learn or a Kubernetes client, and never logs a payload.
"""

__version__ = "0.1.0"
