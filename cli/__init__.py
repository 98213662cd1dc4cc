"""`relay`, the command line for a deployed stack and for local files."""
