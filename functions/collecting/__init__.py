"""Collecting: download the results of a batch and merge them in row order."""
