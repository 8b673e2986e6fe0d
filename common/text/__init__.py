"""From a line to pieces that have ids, and back: what a trained run keeps to translate without its training data."""
