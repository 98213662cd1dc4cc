"""Planning: claim an upload, read its rows and cut it into chunks."""
