"""The Experiment: observe -> decide -> manifests. Search state lives in Kubernetes objects alone."""
