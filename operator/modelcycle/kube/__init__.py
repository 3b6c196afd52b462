"""The Kubernetes API as a port of a few methods, its real client and the names of our children.

Only `kube.client` imports the `kubernetes` package. Nothing here knows what an Experiment means.
"""
