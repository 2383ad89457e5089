"""Archives and old files of torch that lie about what is in them: what each is, and its bytes."""

from __future__ import annotations

import pickle
import struct
import zlib
from functools import partial

from tests.unit.layouts.hostile_safetensors import Cases
from tests.unit.layouts.saved_files import BYTES, GOOD, PICKLED, Member, archive, as_pickles, as_zip


def zips() -> Cases:
    whole = as_zip(GOOD)
    for at in sorted({round(4 + i * (len(whole) - 5) / 39) for i in range(40)}):
        yield f"zip cut at {at}", whole[:at]
    pickled, data = Member(PICKLED, GOOD), Member(BYTES, bytes(32))
    deflated = zlib.compress(bytes(10**6), wbits=-15)

    def with_data(**lie) -> bytes:
        return archive(pickled, Member(BYTES, lie.pop("data", bytes(32)), **lie))

    yield "deflated storage", with_data(data=deflated, method=8, size=10**6)
    yield "deflated storage, size a lie", with_data(data=deflated, method=8, size=32)
    yield "deflated pickle", archive(Member(PICKLED, zlib.compress(GOOD, wbits=-15), 8, size=len(GOOD)), data)
    yield "zip bomb", archive(Member(PICKLED, deflated, 8, size=4 * 10**9), data)
    yield "bomb beside the data", archive(pickled, data, Member(b"a/x", deflated, 8, size=4 * 10**9))
    for method in (1, 9, 12, 14, 93, 99, 65535):
        yield f"compression method {method}", with_data(method=method)
    for bit in (0, 6, 13):
        yield f"encrypted, bit {bit}", with_data(flags=1 << bit)
    for size in (0, 31, 33, 10**6, 2**32 - 2, 2**32 - 1):
        yield f"storage's size said to be {size}", with_data(size=size, packed=size)
        yield f"storage's unpacked size said to be {size}", with_data(size=size)
    yield "storage shorter than its tensors", with_data(data=bytes(31))
    yield "storage of no bytes", with_data(data=b"")
    yield "crc of the pickle", archive(Member(PICKLED, GOOD, crc=1), data)
    yield "crc of the byte order", archive(pickled, data, Member(b"a/byteorder", b"little", crc=1))
    yield "big endian", archive(pickled, data, Member(b"a/byteorder", b"big"))
    yield "TorchScript", archive(pickled, data, Member(b"a/constants.pkl", b"\x80\x02)."))
    for other in (
        b"../x",
        b"a/../../x",
        b"/etc/passwd",
        b"..\\x",
        b"C:\\x",
        b"a\0b",
        b"a/..",
        b"..",
        b"\xff\xfe",
        b"a\\data\\1",
    ):
        yield f"an entry named {other!r}", archive(pickled, data, Member(other, b"x"))
    yield "two pickles of one name", archive(pickled, pickled, data)
    yield "two storages of one name", archive(pickled, data, data)
    yield "two roots", archive(pickled, data, Member(b"b/data.pkl", GOOD))
    yield "no pickle", archive(data)
    yield "pickle at the top", archive(Member(b"data.pkl", GOOD), Member(b"data/0", bytes(32)))
    yield "storage missing", archive(pickled)
    yield "storage of another root", archive(pickled, Member(b"b/data/0", bytes(32)))
    yield "overlapping storages", archive(pickled, data, Member(b"a/data/1", b"", local=0, local_name=b""))
    yield "two entries on one header", archive(pickled, data, Member(b"a/data/2", bytes(8), local=0))
    yield "a storage over the pickle", archive(pickled, Member(BYTES, bytes(32), local=0))
    inner = b"PK\3\4" + struct.pack("<5H3I2H", 20, 0, 0, 0, 0, 0, 4, 4, 8, 0) + b"a/data/1" + b"1234"
    quoted = 30 + len(PICKLED) + len(GOOD) + 30 + len(BYTES)
    yield "an entry within an entry", archive(pickled, Member(BYTES, inner), Member(b"a/data/1", b"1234", local=quoted))
    yield "another name in its own header", with_data(local_name=b"a/data/1")
    yield "header outside the file", with_data(local=10**6)
    yield "header far outside the file", with_data(local=2**32 - 2)
    yield "header nowhere", with_data(local=5)
    for extra in (b"", b"\1\0\x18\0" + b"\xff" * 24, b"\1\0\xff\xff", b"\1\0\x08\0" + bytes(8), b"\1"):
        yield f"64-bit fields {extra[:6]!r}", with_data(size=2**32 - 1, packed=2**32 - 1, local=2**32 - 1, extra=extra)
    yield "another disk", with_data(disk=1)
    for count in (0, 1, 3, 1000, 65535):
        yield f"directory of {count} entries", archive(pickled, data, count=count)
    for size in (0, 10, 1000, 2**32 - 1):
        yield f"directory of {size} bytes", archive(pickled, data, size=size)
    for begin in (0, 4, 10**6, 2**32 - 1):
        yield f"directory at {begin}", archive(pickled, data, begin=begin)
    yield "comment longer than the file", archive(pickled, data, comment=40_000, tail=b"PK\5\6")
    yield "a million entries", partial(_many_entries, 1_000_000)
    yield "a million entries claimed", _end_64(archive(pickled, data), 10**6, 100)
    yield "2^63 entries claimed", _end_64(archive(pickled, data), 2**63, 2**63)
    yield "zip64 record missing", archive(pickled, data)[:-22] + b"PK\6\7" + struct.pack("<IQI", 0, 4, 1) + archive()
    yield (
        "zip64 record outside",
        archive(pickled, data)[:-22] + b"PK\6\7" + struct.pack("<IQI", 0, 2**63, 1) + archive(),
    )
    yield "a long pickle", partial(_long_pickle, 17_000_000)


def _end_64(whole: bytes, count: int, size: int) -> bytes:
    at = len(whole) - 22
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, 0)
    return whole[:-22] + record + b"PK\6\7" + struct.pack("<IQI", 0, at, 1) + whole[-22:]


def _many_entries(count: int) -> bytes:
    fixed = b"PK\1\2" + struct.pack("<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    directory = b"".join(fixed + b"%07d" % i for i in range(count))
    whole = as_zip(GOOD)
    return _end_64(whole[:-22] + directory + whole[-22:], count, len(directory))


def _long_pickle(size: int) -> bytes:
    return as_zip(b"\x80\x02" + b"N0" * (size // 2) + b".")


def old_format() -> Cases:
    whole = as_pickles(GOOD)
    for at in sorted({round(3 + i * (len(whole) - 4) / 39) for i in range(40)}):
        yield f"pickles cut at {at}", whole[:at]
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    for label, head in {
        "another magic number": pickle.dumps(5, protocol=2),
        "magic text": pickle.dumps("x", protocol=2),
        "version 1000": magic + pickle.dumps(1000, protocol=2),
        "version None": magic + pickle.dumps(None, protocol=2),
        "no machine": magic + pickle.dumps(1001, protocol=2) + pickle.dumps(None, protocol=2),
        "big endian": magic + pickle.dumps(1001, protocol=2) + pickle.dumps({"little_endian": False}, protocol=2),
    }.items():
        yield f"old format, {label}", head + GOOD + pickle.dumps(["0"], protocol=2) + struct.pack("<q", 8) + bytes(32)
    for keys in ((), ("1",), ("0", "0"), ("0", "1"), (0,), (None,)):
        yield f"old format, keys {keys}", as_pickles(GOOD, keys=keys)
    for count in (0, 7, 9, -1, 2**62, -(2**63)):
        data = pickle.dumps(["0"], protocol=2) + struct.pack("<q", count) + bytes(32)
        yield (
            f"old format, storage of {count}",
            as_pickles(GOOD, b"", ())[: -8 - len(pickle.dumps([], protocol=2))] + data,
        )
    for protocol in range(2, 6):
        yield f"a pickle of protocol {protocol} that torch did not write", pickle.dumps({"w": [1.0]}, protocol)


def cases() -> Cases:
    yield from zips()
    yield from old_format()
