"""How a target's settings are drawn from the front of its bytes."""


def take_bytes(data: bytes, count: int) -> tuple[tuple[int, ...], bytes]:
    """Take `count` bytes off the front, as numbers of 0 to 255; 0 where there are none."""
    front = data[:count].ljust(count, b"\0")
    return tuple(front), data[count:]
