"""A range coder: choices and their frequencies ↔ bytes, in whole numbers alone.

A choice takes its part of an interval of 64 bits; what all numbers of it begin with is written
(Martin 1979, with a carry into the bytes behind). A choice of probability p costs log₂ 1/p bits,
and all of them together at most one byte more. It knows nothing of models.

A part is given as start and width within a total, all whole, the total below 2⁴⁸.
"""

from __future__ import annotations

_BITS = 64
_KEPT_BITS = _BITS - 8  # the interval has always more than so many
_SMALLEST = 1 << _KEPT_BITS
_BELOW = _SMALLEST - 1


class Encoder:
    """Turns parts into bytes."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._low, self._range = 0, 1 << _BITS

    def __len__(self) -> int:
        """Give the number of bytes written so far."""
        return len(self._written)

    def encode(self, start: int, width: int, total: int) -> None:
        """Take one choice."""
        unit = self._range // total
        self._low += unit * start
        self._range = unit * width
        while self._range < _SMALLEST:
            self._write_byte()
            self._range <<= 8

    def finish(self) -> bytes:
        """Give all bytes: the fewest after which a decoder that reads on in zeros is right."""
        for count in range(_BITS // 8 + 1):
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
        self._written.append(self._low >> _KEPT_BITS)
        self._low = (self._low & _BELOW) << 8

    def _carry(self) -> None:
        """Add what has left the interval's bits to the bytes written."""
        if self._low >> _BITS:
            self._low -= 1 << _BITS
            place = len(self._written) - 1
            while self._written[place] == 0xFF:
                self._written[place] = 0
                place -= 1
            self._written[place] += 1


class Decoder:
    """Turns an encoder's bytes back into its choices."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._value = int.from_bytes(data[: _BITS // 8].ljust(_BITS // 8, b"\0"))
        self._place, self._range = _BITS // 8, 1 << _BITS
        self._unit = 0

    def find(self, total: int) -> int:
        """Give a number within the part, of `total`, that was taken; `take` must follow.

        Raises:
            ValueError: no part was.
        """
        self._unit = self._range // total
        found = self._value // self._unit
        if found >= total:
            raise ValueError("no choice is written like that")
        return found

    def take(self, start: int, width: int) -> None:
        """Go on behind the part that `find` fell into.

        Raises:
            ValueError: the data ended before its choices did.
        """
        self._value -= self._unit * start
        self._range = self._unit * width
        while self._range < _SMALLEST:
            if self._place >= len(self._data) + _BITS // 8:
                raise ValueError("it ends before its text does")
            byte = self._data[self._place] if self._place < len(self._data) else 0
            self._value = (self._value << 8) | byte
            self._place += 1
            self._range <<= 8
