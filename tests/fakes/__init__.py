"""AWS and Anthropic in memory, at the edge of the network: the clients of the SDKs over them are the real ones."""
