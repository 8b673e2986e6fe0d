"""Scores with their signatures, their uncertainty, and the record of how a run came about."""
