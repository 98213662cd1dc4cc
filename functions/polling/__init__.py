"""Polling: watch batches, reconcile lost creates, recover unfinished items and admit new sends."""
