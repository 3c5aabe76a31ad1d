"""Slow, obvious oracles, written without looking at (or importing) the engines they check."""
