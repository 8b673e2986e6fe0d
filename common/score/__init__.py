"""Scores of text, with their signatures and their uncertainty."""
