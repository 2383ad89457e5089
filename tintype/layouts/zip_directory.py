"""Where the files in a zip archive lie, for archives that are read by memory map: stored whole, never unpacked.

torch writes its archives without compression, each tensor's bytes as one entry. So nothing has to be inflated, which
is how a small file becomes a large one, and nothing is written to disk, which is how a name such as ``../x`` does harm.
The directory at the end is checked against the file and against the entries' own headers.
The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 and 4.4
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from mmap import mmap

MAX_ENTRIES = 60_000
MAX_DIRECTORY_BYTES = 16_000_000
TAIL_BYTES = 22 + 0xFFFF  # the end record and the longest comment behind it

END, END_64, END_64_LOCATOR, DIRECTORY, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
IN_64_BITS = 0xFFFFFFFF  # a field of 32 bits that says: see the extra field
ENCRYPTED = 0x2041  # bits 0, 6 and 13


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive: ``size`` bytes at ``begin``. ``local`` is where its own header begins."""

    name: str
    begin: int
    size: int
    crc: int  # 0 where torch was told to leave checksums out
    local: int
    is_stored: bool

    def read(self, data: mmap) -> bytes:
        """Its bytes, checked. For small entries."""
        content = data[self.begin : self.begin + self.size]
        if self.crc and zlib.crc32(content) != self.crc:
            raise ValueError(f"the checksum of {self.name} is wrong")
        return content


def read_directory(data: mmap) -> dict[str, Entry]:
    """The archive's entries by name. Raises ``ValueError`` or ``struct.error`` where it is damaged or not plain."""
    count, size, begin, end = _end_record(data)
    if count > MAX_ENTRIES or size > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its zip directory has {count:,} entries in {size:,} bytes, more than any model")
    if begin + size > end:
        raise ValueError("its zip directory does not lie in the file")
    entries: dict[str, Entry] = {}
    at = begin
    for _ in range(count):
        entry, at = _entry(data, at, begin + size)
        if entry.name in entries:
            raise ValueError(f"{entry.name!r} stands twice in its zip directory")
        entries[entry.name] = entry
    _check_overlaps(list(entries.values()), begin)
    return entries


def _end_record(data: mmap) -> tuple[int, int, int, int]:
    """Number of entries, size and begin of the directory, and where it has to end."""
    end = data.rfind(END, max(0, len(data) - TAIL_BYTES))
    if end < 0 or end + 22 > len(data):
        raise ValueError("it is truncated: the zip directory at its end is missing")
    disk, first, here, count, size, begin, _ = struct.unpack_from("<4HIIH", data, end + 4)
    locator = end - 20
    if locator >= 0 and data[locator : locator + 4] == END_64_LOCATOR:
        _, at, _ = struct.unpack_from("<IQI", data, locator + 4)
        if at + 56 > locator or data[at : at + 4] != END_64:
            raise ValueError("its zip64 record is missing")
        disk, first, here, count, size, begin = struct.unpack_from("<IIQQQQ", data, at + 16)
        end = at
    if disk or first or here != count:
        raise ValueError("it is one part of a zip archive in several")
    return count, size, begin, end


def _entry(data: mmap, at: int, end: int) -> tuple[Entry, int]:
    """The entry at ``at`` of the directory, and where the next one begins."""
    if at + 46 > end or data[at : at + 4] != DIRECTORY:
        raise ValueError("its zip directory is damaged")
    flags, method, _, crc, packed, size, *lengths, disk, _, _, local = struct.unpack_from(
        "<HHIIIIHHHHHII", data, at + 8
    )
    name_bytes, extra_bytes, comment_bytes = lengths
    behind_name = at + 46 + name_bytes
    behind = behind_name + extra_bytes + comment_bytes
    if behind > end:
        raise ValueError("its zip directory is damaged")
    raw_name = data[at + 46 : behind_name]
    name = raw_name.decode("utf-8")
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise ValueError(f"an entry is named {name[:100]!r}, outside the archive")
    if flags & ENCRYPTED:
        raise ValueError(f"{name} is encrypted")
    if IN_64_BITS in (size, packed, local):
        size, packed, local = _in_64_bits(data[behind_name : behind_name + extra_bytes], size, packed, local)
    if disk or (packed != size and method == 0):
        raise ValueError(f"the sizes of {name} disagree: {packed:,} and {size:,} bytes")
    return Entry(name, _begin(data, local, raw_name), packed, crc, local, method == 0), behind


def _in_64_bits(extra: bytes, *fields: int) -> list[int]:
    """The fields, with those that need 64 bits taken from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            filled = [next(values, None) if field == IN_64_BITS else field for field in fields]
            return [IN_64_BITS if value is None else value for value in filled]
        at += 4 + length
    return list(fields)


def _begin(data: mmap, local: int, name: bytes) -> int:
    """Where an entry's bytes begin, from its own header."""
    if local + 30 > len(data) or data[local : local + 4] != LOCAL:
        raise ValueError(f"the header of {name!r} is not where the zip directory says")
    name_bytes, extra_bytes = struct.unpack_from("<HH", data, local + 26)
    if data[local + 30 : local + 30 + name_bytes] != name:
        raise ValueError(f"{name!r} has another name in its own header")
    return local + 30 + name_bytes + extra_bytes


def _check_overlaps(entries: list[Entry], directory: int) -> None:
    """ValueError unless the entries lie one behind the other, all before the directory."""
    spans = sorted((entry.local, entry.begin + entry.size, entry.name) for entry in entries)
    for (_, end, name), (begin, _, _) in pairwise([*spans, (directory, directory, "")]):
        if end > begin:
            raise ValueError(f"{name} overlaps what lies behind it, or is truncated")
