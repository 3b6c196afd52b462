"""A Kubernetes for people without one: kind where an engine answers, else one node built from Go modules.

Standard library only: it runs before any virtual environment exists.
"""
