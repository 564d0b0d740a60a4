"""Rules before the model: `rules` loads and checks them, `sift` applies them to a slice."""
