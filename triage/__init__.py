"""Read log shards with a language model on your own machines and leave a verdict on every line.

The story is in `pipeline`; the same story over Ray is in `cluster`; the rooms hold the steps.
"""

__version__ = "0.1.0"
