"""Polling: watch, reconcile and recover what is unfinished, and admit what may be sent."""
