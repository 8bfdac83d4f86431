"""A range coder: symbols with integer frequencies ↔ bytes, in whole numbers alone.

Each symbol narrows an interval of 64 bits to its share of it; the leading byte is written once all
numbers of the interval have it in common (Martin 1979, with carry propagation). A symbol of
probability p costs log₂ 1/p bits, and all of them together at most one byte more.

A symbol is given by start (the frequencies before it), width (its own) and total, below 2⁴⁸.
"""

_BITS = 64
_TAIL_BITS = _BITS - 8  # those behind the byte that is written next
_MIN_RANGE = 1 << _TAIL_BITS  # below it, another byte is written
_TAIL_MASK = _MIN_RANGE - 1


class Encoder:
    """Turns symbols into bytes."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._low = 0  # start of the interval; bit 64 is a carry
        self._range = 1 << _BITS

    def encode(self, start: int, width: int, total: int) -> None:
        """Write one symbol."""
        unit = self._range // total
        self._low += unit * start
        self._range = unit * width
        while self._range < _MIN_RANGE:
            self._write_byte()
            self._range <<= 8

    def finish(self) -> bytes:
        """Return all bytes: the fewest that a decoder, reading zeros after them, decodes."""
        for count in range(_BITS // 8 + 1):
            # Is there a number with only `count` bytes before its zeros in the interval?
            step = 1 << (_BITS - 8 * count)
            value = -(-self._low // step) * step
            if value < self._low + self._range:
                break
        self._low = value
        for _ in range(count):
            self._write_byte()
        self._carry()
        return bytes(self._written)

    def _write_byte(self) -> None:
        self._carry()
        self._written.append(self._low >> _TAIL_BITS)
        self._low = (self._low & _TAIL_MASK) << 8

    def _carry(self) -> None:
        """Add what overflowed the interval's bits to the bytes written."""
        if self._low >> _BITS:
            self._low -= 1 << _BITS
            index = len(self._written) - 1
            while self._written[index] == 0xFF:  # the carry runs through full bytes
                self._written[index] = 0
                index -= 1
            self._written[index] += 1


class Decoder:
    """Turns an encoder's bytes back into its symbols: `target`, then `consume`, for each."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = _BITS // 8  # index of the next byte
        # Where in the interval the encoded number lies; zeros follow the last byte.
        self._value = int.from_bytes(data[: _BITS // 8].ljust(_BITS // 8, b"\0"))
        self._range = 1 << _BITS
        self._unit = 0

    def target(self, total: int) -> int:
        """Return a number below `total` within the encoded symbol, from its start on.

        Raises:
            ValueError: no symbol was encoded like that.
        """
        self._unit = self._range // total
        found = self._value // self._unit
        if found >= total:
            raise ValueError("it is not the code of any text")
        return found

    def consume(self, start: int, width: int) -> None:
        """Continue with the next symbol, after the one that `target` fell into.

        Raises:
            ValueError: the data ended before its symbols did.
        """
        self._value -= self._unit * start
        self._range = self._unit * width
        while self._range < _MIN_RANGE:
            if self._next >= len(self._data) + _BITS // 8:
                raise ValueError("it ends before its text does")
            byte = self._data[self._next] if self._next < len(self._data) else 0
            self._value = (self._value << 8) | byte
            self._next += 1
            self._range <<= 8
