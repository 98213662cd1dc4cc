"""Adapters: the table, the buckets, the queues, the topic and the API."""
