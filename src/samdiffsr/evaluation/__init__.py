"""Scores and their protocols."""
