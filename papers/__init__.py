"""The papers: one folder each, laid out alike."""
