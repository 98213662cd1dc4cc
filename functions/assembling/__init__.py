"""Assembling: join the chunks of a job and write its manifest."""
