"""Sending: create a Message Batch for each chunk, or split what was refused."""
