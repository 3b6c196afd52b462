"""modelcycle: an operator that runs the whole life of a model as one loop. docs/architecture.md holds the map."""

__version__ = "0.1.0"
