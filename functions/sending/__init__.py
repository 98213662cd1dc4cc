"""Sending: create a Message Batch for each chunk, and split chunks that the API refuses."""
