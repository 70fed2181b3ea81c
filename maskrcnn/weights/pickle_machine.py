"""A pickle read as data: an own machine for the few opcodes that weight files need. Nothing is imported or called.

Python's unpickler is a program interpreter: a file names any function and has it called. Here a name stands for one
of the functions that the reader of a format lists, and these only collect their arguments; every other name and every
opcode outside the table ends the reading (PAPER §5.7). Objects are plain: dict, list, tuple, str, numbers, bytes.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from maskrcnn.archives import RefusedFileError

MOST_OPCODES = 500_000
"""A detector's state dict has about 20,000, a checkpoint with its optimizer 60,000."""
MOST_LINE_BYTES = 1 << 16
MOST_INTEGER_BITS = 128
"""Longer integers are no sizes: they only make later arithmetic and printing slow."""
LONGEST_KEY_BITS = 60
HIGHEST_PROTOCOL = 5


@dataclass(frozen=True)
class Name:
    """What an allowed global stands for. `build` collects arguments; without it the name is only a mark."""

    text: str
    build: Callable[..., Any] | None = None


class Shell:
    """A value that the file fills after it was made (opcode BUILD)."""

    def fill(self, state: Any) -> None:
        """Take the state over, after checking it.

        Raises:
            RefusedFileError: the state has another form.
        """
        raise NotImplementedError


class OrderedMapping(dict[Any, Any]):
    """An OrderedDict of the file; torch hangs `_metadata` on it, which is ignored."""


Names = Mapping[tuple[str, str], Name]
COLLECTIONS: Names = {
    ("collections", "OrderedDict"): Name("OrderedDict", lambda items=(): ordered(items)),
}
"""Of every format."""


class BoundedFile:
    """A file that never gives fewer bytes than asked for, and is never asked for more than it has."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        here = file.tell()
        self.length = file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            RefusedFileError: the file ends before.
        """
        if count < 0 or count > self.length - self._file.tell():
            raise RefusedFileError("cut off: it declares more data than it holds")
        return self._file.read(count)

    def readline(self) -> bytes:
        """A line of at most `MOST_LINE_BYTES`."""
        return self._file.readline(MOST_LINE_BYTES)

    def tell(self) -> int:
        """Position from the beginning of the file."""
        return self._file.tell()

    def seek(self, position: int) -> None:
        """Go to a position from the beginning of the file."""
        self._file.seek(position)


def load_pickle(file: BoundedFile, names: Names, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins at the file's position; the position is then behind its STOP.

    Args:
        names: the allowed globals by (module, name).
        persistent: what a persistent id (torch's storages) stands for; None: there are none.

    Raises:
        RefusedFileError: another global or opcode, a limit is passed, or the file is cut off.
        ValueError: an argument of an opcode that is malformed.
    """
    return _Machine(names, persistent).run(file)


def ordered(items: Any) -> OrderedMapping:
    """The OrderedDict of a list of pairs."""
    found = OrderedMapping()
    if not isinstance(items, list | tuple):
        raise RefusedFileError("an OrderedDict that is made of something else than pairs")
    for pair in items:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RefusedFileError("an OrderedDict that is made of something else than pairs")
        found[_key(pair[0])] = pair[1]
    return found


def _key(key: Any) -> Any:
    """Keys are texts and small integers: hashing nested tuples takes exponential time, and long integers collide."""
    if not isinstance(key, str) and not (type(key) is int and key.bit_length() <= LONGEST_KEY_BITS):
        raise RefusedFileError(f"a dictionary with a key of type {type(key).__name__}")
    return key


class _Machine:
    def __init__(self, names: Names, persistent: Callable[[Any], Any] | None) -> None:
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BoundedFile) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", file))):
            if count > MOST_OPCODES:
                raise RefusedFileError("a pickle of absurdly many steps")
            name = opcode.name
            if name == "STOP":
                return self._end()
            if name in _PUSHED:
                self._stack.append(_argument(argument))
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise RefusedFileError(f"the pickle uses {name}, which no weight file needs", _HINT)
        raise RefusedFileError("a pickle without an end")

    def _end(self) -> Any:
        if len(self._stack) != 1 or self._marked:
            raise RefusedFileError("a pickle that leaves other things than one value")
        return self._stack.pop()

    def pop(self) -> Any:
        if not self._stack:
            raise RefusedFileError("a pickle that takes values from an empty stack")
        return self._stack.pop()

    def pop_marked(self) -> list[Any]:
        if not self._marked:
            raise RefusedFileError("a pickle that takes values up to a mark that is not there")
        items, self._stack = self._stack, self._marked.pop()
        return items

    def mark(self, _: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop_one(self, _: Any) -> None:
        # CPython lets POP take a mark off, which only broken picklers write.
        self.pop()

    def pop_mark(self, _: Any) -> None:
        self.pop_marked()

    def duplicate(self, _: Any) -> None:
        top = self.pop()
        self._stack += [top, top]

    def put(self, index: int) -> None:
        if not self._stack:
            raise RefusedFileError("a pickle that stores a value that is not there")
        self._memo[int(index)] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedFileError("a pickle that recalls a value it never stored")
        self._stack.append(self._memo[index])

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def tuple_marked(self, _: Any) -> None:
        items = tuple(self.pop_marked())
        self._stack.append(items)

    def list_marked(self, _: Any) -> None:
        items = self.pop_marked()
        self._stack.append(items)

    def dict_marked(self, _: Any) -> None:
        items = self.pop_marked()
        self._stack.append({})
        self._set_items(items)

    def append(self, _: Any) -> None:
        self._extend([self.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self.pop_marked())

    def _extend(self, items: list[Any]) -> None:
        if not self._stack or type(self._stack[-1]) is not list:
            raise RefusedFileError("a pickle that appends to something that is no list")
        self._stack[-1].extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._set_items([key, value])

    def set_items(self, _: Any) -> None:
        self._set_items(self.pop_marked())

    def _set_items(self, items: list[Any]) -> None:
        if not self._stack or not isinstance(self._stack[-1], dict) or len(items) % 2:
            raise RefusedFileError("a pickle that sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._stack[-1][_key(key)] = value

    def global_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise RefusedFileError("a pickle whose global has no name")
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        found = self._names.get((module, name))
        if found is None:
            raise RefusedFileError(f"the pickle names {module[:60]}.{name[:60]}, which no weight file needs", _HINT)
        self._stack.append(found)

    def reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or function.build is None or not isinstance(arguments, tuple):
            raise RefusedFileError("the pickle calls something that is no builder of weights", _HINT)
        try:
            self._stack.append(function.build(*arguments))
        except TypeError as error:  # another number of arguments than the builder takes
            raise RefusedFileError(f"{function.text} with arguments of another form") from error

    def build(self, _: Any) -> None:
        state = self.pop()
        target = self._stack[-1] if self._stack else None
        if isinstance(target, Shell):
            target.fill(state)
        elif not isinstance(target, OrderedMapping):
            raise RefusedFileError("the pickle sets the state of something that has none", _HINT)

    def persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise RefusedFileError("the pickle refers to data outside of it")
        self._stack.append(self._persistent(self.pop()))

    def protocol(self, number: int) -> None:
        if number > HIGHEST_PROTOCOL:
            raise RefusedFileError(f"pickle protocol {number} is not known")

    def nothing(self, _: Any) -> None:
        """FRAME says where to read ahead."""


def _argument(value: Any) -> Any:
    if type(value) is int and value.bit_length() > MOST_INTEGER_BITS:
        raise RefusedFileError("a pickle with an absurdly long integer")
    return value


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    def push(machine: _Machine, _: Any) -> None:
        machine._stack.append(make())

    return push


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def push(machine: _Machine, _: Any) -> None:
        machine.tuple_of(count)

    return push


_HINT = "nothing in it was run; save the plain state dict (names and tensors alone)"
_PUSHED = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    )
)
"""Opcodes whose argument is the value."""
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.nothing,
    "MARK": _Machine.mark,
    "POP": _Machine.pop_one,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "TUPLE": _Machine.tuple_marked,
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": _Machine.list_marked,
    "DICT": _Machine.dict_marked,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}
