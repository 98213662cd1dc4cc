"""One module per command, named after it; `steering` and `repairing` have several similar ones."""
