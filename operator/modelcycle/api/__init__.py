"""Frozen, typed views of the three kinds: parse(dict) -> Spec. No I/O, and no defaults beyond the schema's."""
