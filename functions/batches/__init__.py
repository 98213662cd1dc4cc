"""What the steps share: pure modules, and one door to each service."""
