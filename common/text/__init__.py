"""From a line of text to pieces with ids, and back: what a trained run needs to translate without its training data."""
