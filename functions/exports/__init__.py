"""Exports: the results once more, in the shapes that other tools read."""
