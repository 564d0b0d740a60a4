"""Rules before the model: `rules` and `sigma_compile` load and check them, `sift` applies them to a slice."""
