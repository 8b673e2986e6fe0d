"""The generator of the demo text."""
