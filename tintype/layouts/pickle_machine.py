"""A pickle as data: an interpreter of its opcodes in which nothing can be called.

A pickle is a program for a small stack machine. Python's own machine looks classes and functions up by their names and
calls them, which is how a file runs code. This one has no way to look anything up: a name stays a ``Name``, a call
stays a ``Record`` of what would have been called with what, and the few constructors that tensors need are functions
that the caller passes in. Opcodes that torch never writes are refused. What a hostile program could still do is to be
long, so its operations are counted.

The opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any

MAX_BYTES = 16_000_000  # SDXL with its optimiser takes 2,000,000
MAX_OPERATIONS = 450_000  # 30 for each tensor, so 15,000 tensors; each may take 100 bytes of memory
MAX_LONG_BYTES = 256
MAX_LINE = 1_000

# What only a file that means harm names. They would not be run if they were let through; but such a file should be
# known for what it is.
HARMFUL_MODULES = {
    *("os", "posix", "nt", "subprocess", "commands", "sys", "runpy", "pty", "socket", "shutil", "ctypes"),
    *("importlib", "imp", "webbrowser", "code", "pdb", "timeit", "bdb", "marshal", "pickle", "_pickle", "cPickle"),
}
HARMFUL_NAMES = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__", "__builtins__")
    for name in ("eval", "exec", "execfile", "compile", "open", "__import__", "breakpoint", "input", "globals")
}


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names: "torch._utils._rebuild_tensor_v2". Only the name."""

    full: str


@dataclass(eq=False, repr=False, slots=True)
class Record:
    """An object of a class that is not ours to make: what it would have been made from. It does nothing.

    ``state`` is what its ``__setstate__`` would have got, ``items`` and ``entries`` what would have been appended.
    """

    name: str
    args: object = ()
    state: object = None
    items: list[object] | None = None
    entries: list[tuple[object, object]] | None = None

    def __repr__(self) -> str:  # not the content, which may be as deep as a file likes
        return f"Record({self.name!r})"


Constructors = Mapping[str, Callable[..., Any]]
"""Full name -> a function of ours that takes the arguments of a call to that name."""


@dataclass(slots=True)
class Machine:
    """Runs the pickle that begins at byte ``at`` of ``data``; ``load`` gives its value and leaves ``at`` behind it.

    ``persistent`` makes something of the ids by which torch refers to storages. Raises ``ValueError``, ``TypeError``,
    ``IndexError``, ``KeyError`` or ``struct.error`` for a program that is damaged or too long.
    """

    data: bytes | mmap
    constructors: Constructors
    persistent: Callable[[object], object]
    at: int = 0
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def load(self) -> object:
        """The value of the pickle."""
        self.stack, self.marks, self.memo = [], [], {}
        end, data = min(len(self.data), self.at + MAX_BYTES), self.data
        for _ in range(MAX_OPERATIONS):
            if self.at >= end:
                raise ValueError("the pickle does not end" if end == len(data) else f"it is over {MAX_BYTES:,} bytes")
            code = data[self.at]
            self.at += 1
            if code == STOP:
                return self.stack.pop()
            operation = OPERATIONS.get(code)
            if operation is None:
                raise ValueError(f"byte {self.at - 1:,} is opcode {code:#04x}, which torch does not write")
            operation(self)
        raise ValueError(f"the pickle has over {MAX_OPERATIONS:,} operations")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > MAX_BYTES or self.at + count > len(self.data):
            raise ValueError(f"{count:,} bytes should follow byte {self.at:,}, where {len(self.data) - self.at:,} are")
        self.at += count
        return self.data[self.at - count : self.at]

    def line(self) -> str:
        """The rest of a line, without its end."""
        end = self.data.find(b"\n", self.at, self.at + MAX_LINE)
        if end < 0:
            raise ValueError(f"the line at byte {self.at:,} does not end")
        text = self.take(end - self.at).decode("utf-8")
        self.at += 1
        return text

    def number(self, layout: str) -> int:
        """A number of fixed size, by the letter of the struct module."""
        (value,) = struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))
        return value

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken from the stack."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def refer(self, module: object, name: object) -> None:
        """Pushes a name."""
        if type(module) is not str or type(name) is not str:
            raise ValueError("a class is named by something that is no text")
        full = f"{module}.{name}"
        if module.split(".")[0] in HARMFUL_MODULES or full in HARMFUL_NAMES:
            raise ValueError(
                f"it calls {full[:100]}. A file of weights has no use for that; other programs may run it on opening. "
                "Nothing was run here. Delete the file and warn whoever shares it"
            )
        self.stack.append(Name(full))

    def call(self, function: object, args: object) -> None:
        """Pushes what one of our constructors makes, or else a record."""
        if isinstance(function, Record):
            function = Name(f"{function.name}()")
        if not isinstance(function, Name) or type(args) is not tuple:
            raise ValueError(f"a {type(function).__name__} is called")
        make = self.constructors.get(function.full)
        self.stack.append(Record(function.full, args) if make is None else make(*args))

    def append(self, items: list[Any]) -> None:
        """Appends to what is then on top of the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Record):
            if target.items is None:
                target.items = []
            target.items.extend(items)
        else:
            raise ValueError(f"something is appended to a {type(target).__name__}")

    def set_items(self, pairs: list[Any]) -> None:
        """Puts keys and values, alternating, into what is then on top of the stack."""
        if len(pairs) % 2:
            raise ValueError("a key has no value")
        target = self.stack[-1]
        if type(target) is dict:
            for key, value in _paired(pairs):
                target[_as_key(key)] = value
        elif isinstance(target, Record):
            if target.entries is None:
                target.entries = []
            target.entries.extend(_paired(pairs))
        else:
            raise ValueError(f"entries are put into a {type(target).__name__}")

    def build(self, state: object) -> None:
        """Keeps a record's state; the attributes of dicts, such as a state dict's ``_metadata``, are let go."""
        target = self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif target is None or isinstance(target, (str, int, float, bytes, list, tuple, Name)):
            raise ValueError(f"a {type(target).__name__} is given a state")


def _paired(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Two by two, without a copy."""
    one_by_one = iter(values)
    return zip(one_by_one, one_by_one, strict=True)


def _as_key(key: object) -> object:
    """A key that can be hashed in no time, whatever it holds and however it was chosen."""
    if (
        key is None
        or isinstance(key, (str, bytes, bool, float, Name, Record))
        or (type(key) is int and abs(key) < 2**60)
    ):
        return key
    return Record("key", key)


STOP = ord(".")


def _push(make: Callable[[Machine], object]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        value = make(machine)  # first, since it may change which list the stack is
        machine.stack.append(value)

    return operation


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _memoize(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.memo[index(machine)] = machine.stack[-1]

    return operation


def _tuple(length: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        if len(machine.stack) < length:
            raise IndexError(f"{length} values are taken where {len(machine.stack)} are")
        machine.stack[-length:] = [tuple(machine.stack[-length:])]

    return operation


def _text(machine: Machine, length: str) -> str:
    return machine.take(machine.number(length)).decode("utf-8", "surrogatepass")


def _python_2_text(machine: Machine, length: str) -> str | bytes:
    """A string of Python 2, where text and bytes were one."""
    content = machine.take(machine.number(length))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


def _long(machine: Machine, length: str) -> int:
    count = machine.number(length)
    if not 0 <= count <= MAX_LONG_BYTES:
        raise ValueError(f"a number is {count:,} bytes long")
    return int.from_bytes(machine.take(count), "little", signed=True)


def _float(machine: Machine) -> float:
    (value,) = struct.unpack(">d", machine.take(8))
    return value


def _decimal(machine: Machine) -> int | bool:
    line = machine.line()
    if len(line) > 40:
        raise ValueError("a number is too long")
    return line == "01" if line in ("00", "01") else int(line)


def _append(machine: Machine) -> None:
    machine.append([machine.stack.pop()])


def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.set_items([machine.stack.pop(), value])


def _call(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.call(machine.stack.pop(), args)


def _new(machine: Machine) -> None:
    """An object made from its class alone: always a record, whatever the class."""
    args = machine.stack.pop()
    _new_from(machine, args)


def _new_with_words(machine: Machine) -> None:
    words = machine.stack.pop()
    args = machine.stack.pop()
    _new_from(machine, (args, words))


def _new_from(machine: Machine, args: object) -> None:
    made = machine.stack.pop()
    if not isinstance(made, Name):
        raise ValueError(f"an object of a {type(made).__name__} is made")
    machine.stack.append(Record(made.full, args))


def _stack_name(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.refer(machine.stack.pop(), name)


def _protocol(machine: Machine) -> None:
    if (protocol := machine.number("B")) > 5:
        raise ValueError(f"protocol {protocol} is not known")


# Left out on purpose: the opcodes of protocols 0 and 1 for text, instances and ids in lines; EXT1, EXT2, EXT4, which
# look names up in a registry of the reading program; and buffers outside the file.
OPERATIONS: dict[int, Callable[[Machine], Any]] = {
    ord("\x80"): _protocol,
    ord("\x95"): lambda m: m.take(8),  # FRAME: how far to read ahead
    ord("("): _mark,
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): _push(lambda m: m.stack[-1]),
    # constants
    ord("N"): _push(lambda m: None),
    ord("\x88"): _push(lambda m: True),
    ord("\x89"): _push(lambda m: False),
    # numbers
    ord("I"): _push(_decimal),
    ord("J"): _push(lambda m: m.number("i")),
    ord("K"): _push(lambda m: m.number("B")),
    ord("M"): _push(lambda m: m.number("H")),
    ord("\x8a"): _push(lambda m: _long(m, "B")),
    ord("\x8b"): _push(lambda m: _long(m, "i")),
    ord("G"): _push(_float),
    # text and bytes
    ord("X"): _push(lambda m: _text(m, "I")),
    ord("\x8c"): _push(lambda m: _text(m, "B")),
    ord("\x8d"): _push(lambda m: _text(m, "Q")),
    ord("U"): _push(lambda m: _python_2_text(m, "B")),
    ord("T"): _push(lambda m: _python_2_text(m, "I")),
    ord("B"): _push(lambda m: m.take(m.number("I"))),
    ord("C"): _push(lambda m: m.take(m.number("B"))),
    ord("\x8e"): _push(lambda m: m.take(m.number("Q"))),
    ord("\x96"): _push(lambda m: m.take(m.number("Q"))),
    # containers; sets become lists and frozen sets tuples, because hashing what a file says can take for ever
    ord("]"): _push(lambda m: []),
    ord("}"): _push(lambda m: {}),
    ord(")"): _push(lambda m: ()),
    ord("\x8f"): _push(lambda m: []),
    ord("l"): _push(lambda m: m.since_mark()),
    ord("t"): _push(lambda m: tuple(m.since_mark())),
    ord("\x91"): _push(lambda m: tuple(m.since_mark())),
    ord("\x85"): _tuple(1),
    ord("\x86"): _tuple(2),
    ord("\x87"): _tuple(3),
    ord("a"): _append,
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("\x90"): lambda m: m.append(m.since_mark()),
    ord("s"): _set_item,
    ord("u"): lambda m: m.set_items(m.since_mark()),
    # what was made before
    ord("q"): _memoize(lambda m: m.number("B")),
    ord("r"): _memoize(lambda m: m.number("I")),
    ord("\x94"): _memoize(lambda m: len(m.memo)),
    ord("h"): _push(lambda m: m.memo[m.number("B")]),
    ord("j"): _push(lambda m: m.memo[m.number("I")]),
    # names, and what would be done with them
    ord("c"): lambda m: m.refer(m.line(), m.line()),
    ord("\x93"): _stack_name,
    ord("R"): _call,
    ord("\x81"): _new,
    ord("\x92"): _new_with_words,
    ord("b"): lambda m: m.build(m.stack.pop()),
    ord("Q"): _push(lambda m: m.persistent(m.stack.pop())),
}
