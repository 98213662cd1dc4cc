"""In-memory AWS and Anthropic below the SDK clients, which are the real ones."""
