"""One module for each command, named as the command; `steering` and `repairing` have several that are alike."""
