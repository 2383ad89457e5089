"""What torch.save writes, put together by hand so that each part can lie: opcodes of pickles, entries of archives."""

from __future__ import annotations

import pickle
import struct
import zlib
from dataclasses import dataclass


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = pickle.encode_long(value)
    return b"\x8a" + bytes([len(content)]) + content


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(key: bytes = text("0"), kind: bytes = name("torch", "FloatStorage"), count: bytes = number(8)) -> bytes:
    return tuple_of(text("storage"), kind, key, text("cpu"), count) + b"Q"


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(
    held: bytes | None = None,
    offset: bytes = number(0),
    shape: bytes = numbers(2, 4),
    strides: bytes = numbers(4, 1),
    make: str = "_rebuild_tensor_v2",
) -> bytes:
    held = storage() if held is None else held
    return name("torch._utils", make) + tuple_of(held, offset, shape, strides, b"\x89", ORDERED) + b"R"


def state(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


@dataclass
class Member:
    """One entry of an archive, each field of which may lie."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    local_name: bytes | None = None
    local: int | None = None
    extra: bytes = b""
    disk: int = 0


def archive(
    *members: Member, count=None, size=None, begin=None, tail: bytes = b"", comment: int | None = None
) -> bytes:
    """A zip archive by hand."""
    content, directory = b"", b""
    for m in members:
        crc = zlib.crc32(m.data) if m.crc is None else m.crc
        length = len(m.data) if m.size is None else m.size
        packed = len(m.data) if m.packed is None else m.packed
        local_name = m.name if m.local_name is None else m.local_name
        at = len(content) if m.local is None else m.local
        sizes = struct.pack("<III", crc, packed, length)
        head = struct.pack("<HHHHH", 20, m.flags, m.method, 0, 0)
        content += b"PK\3\4" + head + sizes + struct.pack("<HH", len(local_name), 0) + local_name + m.data
        lengths = struct.pack("<HHHHHII", len(m.name), len(m.extra), 0, m.disk, 0, 0, at)
        directory += b"PK\1\2" + struct.pack("<H", 20) + head + sizes + lengths + m.name + m.extra
    number_of = len(members) if count is None else count
    end = struct.pack(
        "<4HIIH",
        *(0, 0, number_of, number_of),
        len(directory) if size is None else size,
        len(content) if begin is None else begin,
        len(tail) if comment is None else comment,
    )
    return content + directory + b"PK\5\6" + end + tail


PICKLED, BYTES = b"a/data.pkl", b"a/data/0"
GOOD = program(state(w=tensor()))


def as_zip(pickled: bytes, data: bytes = bytes(32)) -> bytes:
    return archive(Member(PICKLED, pickled), Member(BYTES, data))


def as_pickles(pickled: bytes, data: bytes = bytes(32), keys=("0",)) -> bytes:
    """The format before torch 1.6."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    return head + pickled + pickle.dumps(list(keys), protocol=2) + struct.pack("<q", len(data) // 4) + data


CONTAINERS = {"zip": as_zip, "pickles": as_pickles}
