"""Draw a target's parameters from the first bytes of its input."""


def take_bytes(data: bytes, count: int) -> tuple[tuple[int, ...], bytes]:
    """Take `count` bytes off the front as numbers of 0 to 255; missing bytes are 0."""
    front = data[:count].ljust(count, b"\0")
    return tuple(front), data[count:]
