"""One module per command, named after it; `control` and `reopening` have several similar ones."""
