"""Planning: claim an upload, read its rows, cut it into chunks."""
