"""Custody of weights: the `registry` of models, `verify` before every load, `embedded` for the default model."""
