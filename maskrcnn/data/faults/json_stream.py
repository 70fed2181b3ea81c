"""A JSON object of long lists, read item by item: memory grows with the largest item and not with the file.

The items themselves are parsed by the standard library. What it would accept silently is noticed: a key that stands
twice in an object, NaN and Infinity, and integers beyond Python's 4300 digits (they become infinite, so that their
owner can be named where they stand).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from maskrcnn.data.faults.values import RepeatedKeys

LARGEST_ITEM = 16 * 2**20
"""Characters of one item: bounds the memory for a file that is one huge item. A mask of 89 million pixels that all
differ from their neighbours in COCO's compressed coding has as many; nothing else comes near."""

LONGEST_NUMBER = 300
"""Digits of the longest integer that is read as one (a float ends at 1.8e308)."""

VALUE = -1
"""Stands in place of an item's index for a value that is no list."""

_CHUNK = 2**20
_WHITE = " \t\n\r"
_LONGEST_TOKEN = 16
"""Characters before the end of what was read in which a token may be cut: `-Infinity`, an escape, a number's sign."""


class JsonError(ValueError):
    """A text that is not JSON, or not an object; the message says what and where."""


class JsonReader:
    """Reads one file (binary, positioned at the text's start) once.

    Attributes:
        keys: the top level's keys so far, with repetitions.
        constants: the names of NaN and infinite literals so far.
        span: (start, end) of the last item or value: bytes of the file under latin-1, or in a text of ASCII alone.
    """

    def __init__(self, file: BinaryIO, encoding: str = "utf-8-sig") -> None:
        """`encoding`: latin-1 makes characters of bytes, for a reader that wants to know where items stand."""
        self.keys: list[str] = []
        self.constants: list[str] = []
        self.span = (0, 0)
        self._window = _Window(file, encoding)
        options: dict[str, Any] = {"object_pairs_hook": _object, "parse_constant": self._constant}
        self._decoder = json.JSONDecoder(**options)
        self._patient_decoder = json.JSONDecoder(**options, parse_int=_bounded_int)

    def items(self) -> Iterator[tuple[str, int, Any]]:
        """(key, index, item) for each item of each list on the top level, in order.

        A list is announced with index `VALUE` and an empty list as item; another value comes with index `VALUE`.

        Raises:
            JsonError: the text breaks off or is not JSON, or its top level is not an object; items before that have
                been given.
            RecursionError: an item is nested too deeply.
            UnicodeDecodeError: it is not UTF-8.
        """
        window = self._window
        if window.peek() != "{":
            found = "a list" if window.peek() == "[" else f"the value {str(self._value())[:40]!r}"
            raise JsonError(f"holds {found}, expected an object with images, annotations, categories")
        window.skip()
        while window.peek() != "}" or self.keys:
            yield from self._entry()
            if window.peek() != ",":
                break
            window.skip()
        self._expect("}")
        if window.peek():
            raise window.error("Extra data after the end")

    def _entry(self) -> Iterator[tuple[str, int, Any]]:
        if self._window.peek() != '"':
            raise self._window.error("Expecting property name enclosed in double quotes")
        key = self._value()
        self.keys.append(key)
        self._expect(":")
        if self._window.peek() != "[":
            yield key, VALUE, self._value()
            return
        self._window.skip()
        yield key, VALUE, []
        index = 0
        while self._window.peek() != "]" or index:
            yield key, index, self._value()
            index += 1
            if self._window.peek() != ",":
                break
            self._window.skip()
        self._expect("]")

    def _expect(self, character: str) -> None:
        if self._window.peek() != character:
            raise self._window.error(f"Expecting {character!r}")
        self._window.skip()

    def _value(self) -> Any:
        """The value at the position, which moves behind it."""
        window = self._window
        window.peek()
        noted = len(self.constants)
        while True:
            # what a cut item held is met again
            del self.constants[noted:]
            try:
                value, end = self._decode()
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(window.text) - _LONGEST_TOKEN
                if not cut or window.at_end:
                    raise window.error(error.msg, error.pos) from None
            else:
                # a number at the end of what was read may go on: 1 with .5 or e+3
                if end + _LONGEST_TOKEN < len(window.text) or window.at_end:
                    self.span = (window.start + window.position, window.start + end)
                    window.position = end
                    return value
            if len(window.text) - window.position > LARGEST_ITEM:
                raise window.error(f"one item of more than {LARGEST_ITEM >> 20} MiB")
            window.fill()

    def _decode(self) -> tuple[Any, int]:
        try:
            return self._decoder.raw_decode(self._window.text, self._window.position)
        except json.JSONDecodeError:
            raise
        except ValueError:
            return self._patient_decoder.raw_decode(self._window.text, self._window.position)

    def _constant(self, name: str) -> float:
        self.constants.append(name)
        return float(name.replace("Infinity", "inf"))


class _Window:
    """The part of the text that was read and is still needed, with its place in the file."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.text = ""
        self.position = 0
        self.start = file.tell()
        """Characters of the file before `text`, where a character is a byte."""
        self.at_end = False
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1
        self._column = 1

    def peek(self) -> str:
        """The next character that is not white space, which becomes the position; "" at the end."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in _WHITE:
                    return self.text[self.position]
                self.position += 1
            if self.at_end:
                return ""
            self.fill()

    def skip(self) -> None:
        self.position += 1

    def fill(self) -> None:
        """Forgets what lies before the position and reads at least as much as is left."""
        self._line, self._column = self._place(self.position)
        rest = self.text[self.position :]
        data = self._file.read(max(_CHUNK, len(rest)))
        self.at_end = not data
        self.start += self.position
        self.text = rest + self._decoder.decode(data, final=self.at_end)
        self.position = 0

    def error(self, what: str, position: int | None = None) -> JsonError:
        place = self.position if position is None else position
        line, column = self._place(place)
        truncated = self.at_end and (place >= len(self.text.rstrip()) or what.startswith("Unterminated"))
        hint = "; the file is truncated" if truncated else ""
        return JsonError(f"{what} in line {line}, column {column}{hint}")

    def _place(self, position: int) -> tuple[int, int]:
        """Line and column, from 1, of a position in the text."""
        newlines = self.text.count("\n", 0, position)
        if not newlines:
            return self._line, self._column + position
        return self._line + newlines, position - self.text.rfind("\n", 0, position)


def parse_item(data: bytes) -> Any:
    """One item by itself, with the same care as `JsonReader`: where a key stands twice, `RepeatedKeys`.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        ValueError, RecursionError: it is not one whole JSON value.
    """
    text = data.decode("utf-8")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, object_pairs_hook=_object, parse_int=_bounded_int)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    keys = [key for key, _ in pairs]
    repeated = RepeatedKeys(plain)
    repeated.repeated = tuple(sorted({key for key in keys if keys.count(key) > 1}))
    return repeated


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else float("-inf" if digits.startswith("-") else "inf")
