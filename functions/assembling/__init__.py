"""Assembling: join the parts of a job, write its manifest and tidy its work files."""
