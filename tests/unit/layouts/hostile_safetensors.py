"""Files of safetensors that lie, and files that are something else: what each is, and its bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial

import torch
from safetensors.torch import save

Content = bytes | Callable[[], bytes]  # large ones are made when they are needed
Cases = Iterator[tuple[str, Content]]


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(2,), begin=0, end=8, dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ENTRY = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def good_safetensors() -> bytes:
    return save({"a": torch.ones(7, 3), "b.weight": torch.ones(5).half()}, {"format": "pt"})


def safetensors_truncated() -> Cases:
    whole = good_safetensors()
    for at in sorted({round(i * (len(whole) - 1) / 39) for i in range(40)}):
        yield f"safetensors cut at {at}", whole[:at]


def safetensors_lengths() -> Cases:
    whole = good_safetensors()
    real = int.from_bytes(whole[:8], "little")
    for length in (0, 1, 2, real - 1, real + 1, 2**20, 2**24, 2**25, 2**31, 2**32, 2**62, 2**63, 2**64 - 1):
        yield f"header length {length}", struct.pack("<Q", length) + whole[8:]


NO_SIZES = ["-1", "1.0", "2.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "true", '"2"', "null", "[2]", "{}"]
NO_SIZES += [str(2**63), str(2**64), "1" + "0" * 400, "1" + "0" * 5000, "-0.0"]


def safetensors_numbers() -> Cases:
    for value in NO_SIZES:
        at = value if len(value) < 30 else f"of {len(value)} digits"
        for place, text in {
            "size": f'{{"a":{{"dtype":"F32","shape":[{value}],"data_offsets":[0,8]}}}}',
            "second size": f'{{"a":{{"dtype":"F32","shape":[2,{value}],"data_offsets":[0,8]}}}}',
            "end": f'{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,{value}]}}}}',
        }.items():
            yield f"{place} {at}", safetensors(text.encode(), bytes(8))
        if value != "-0.0":
            text = f'{{"a":{{"dtype":"F32","shape":{value},"data_offsets":{value}}}}}'
            yield f"shape and offsets {at}", safetensors(text.encode(), bytes(8))


def safetensors_entries() -> Cases:
    for dtype in ("F3", "f32", "", "F32\0", "U7", 1, None, True, ["F32"], {"F32": 1}, "X" * 100_000, "torch.float32"):
        yield f"type {str(dtype)[:10]}", safetensors({"a": entry(dtype=dtype)}, bytes(8))
    for wrong in ({}, [], 8, None, "x", [entry()], {"shape": [2]}, {"dtype": "F32"}, {"data_offsets": [0, 8]}):
        yield f"entry {wrong}"[:40], safetensors({"a": wrong}, bytes(8))
    for wrong in ([], [0], [0, 4, 8], [8, 0], [0, 4], [4, 8], [0, 12], [1, 9], "08", {"0": 8}):
        content = {"dtype": "F32", "shape": [2], "data_offsets": wrong}
        yield f"offsets {wrong}", safetensors({"a": content}, bytes(8))
    for shape in ([3], [1], [], [2, 2], [2**31, 2**31], [2**62, 4], [2**40, 2**40], [0, 2], [1] * 17 + [2], [2] * 64):
        yield f"shape {str(shape)[:30]}", safetensors({"a": entry(shape)}, bytes(8))
    for wrong in (1, [], "text", {"a": 1}, {"a": None}, {"a": ["x"]}, {"a": {"b": "c"}}, True):
        yield f"metadata {wrong}", safetensors({"__metadata__": wrong, "b": entry()}, bytes(8))


def safetensors_spans() -> Cases:
    for begin in (1, 2, 4, 7, 9, 12, 16, 800, 2**40):
        two = {"a": entry(), "b": entry(begin=begin, end=begin + 8)}
        yield f"second tensor at {begin}", safetensors(two, bytes(begin + 8 if begin < 1000 else 16))
    for more in (1, 7, 8, 4096):
        yield f"{more} bytes left over", safetensors({"a": entry()}, bytes(8 + more))
    yield "same bytes a thousand times", safetensors({str(i): entry() for i in range(1000)}, bytes(8))
    yield "no tensors but bytes", safetensors({}, bytes(8))


def safetensors_json() -> Cases:
    for depth in (1_000, 100_000, 2_000_000):
        for open_, close in ((b"[", b"]"), (b'{"a":', b"}")):
            if depth * len(open_) > 5_900_000:
                continue
            for name, before, after in (
                ("a tensor", b'{"a":', b"}"),
                ("metadata", b'{"__metadata__":', b"}"),
                ("", b"", b""),
            ):
                deep = partial(_deep, before, open_, close, after, depth)
                yield f"JSON {depth} deep in {name} {open_.decode()}", deep
    yield "JSON deep and cut", lambda: safetensors(b'{"a":' + b"[" * 200_000)
    yield "a million lists", lambda: safetensors(b'{"a":[' + b"[]," * 1_900_000 + b"[]]}")
    yield "a million texts", lambda: safetensors(b'{"a":[' + b'"ab",' * 1_100_000 + b'"ab"]}')
    yield "half a million names", lambda: safetensors(b"{" + b",".join(b'"%d":0' % i for i in range(550_000)) + b"}")
    yield "name twice", safetensors(b'{"a":' + ENTRY + b',"a":' + ENTRY + b"}", bytes(8))
    yield "metadata twice", safetensors(b'{"__metadata__":{},"__metadata__":{},"a":' + ENTRY + b"}", bytes(8))
    yield "shape twice", safetensors(b'{"a":' + ENTRY[:-1] + b',"shape":[2]}}', bytes(8))
    yield "name twice, once escaped", safetensors(b'{"a":' + ENTRY + b',"\\u0061":' + ENTRY + b"}", bytes(8))
    good = b'{"a":' + ENTRY + b"}"
    for name, text in {
        "utf-16": good.decode().encode("utf-16-le"),
        "utf-16 with mark": good.decode().encode("utf-16"),
        "utf-32": good.decode().encode("utf-32-le"),
        "utf-8 with mark": b"\xef\xbb\xbf" + good,
        "latin-1": '{"ä":0}'.encode("latin-1"),
        "overlong": b'{"\xc0\xaf":0}',
        "surrogate": b'{"\xed\xa0\x80":0}',
        "comments": b"{/*x*/}",
        "single quotes": b"{'a':0}",
        "comma": good[:-1] + b",}",
        "two objects": good + good,
        "a list": b"[" + good + b"]",
        "null": b"null",
        "a number": b"1" * 5000,
        "nothing": b"",
        "spaces": b" " * 64,
        "zeros": bytes(64),
        "text behind": good + b"x",
    }.items():
        yield f"header in {name}", safetensors(text, bytes(8))


def _deep(before: bytes, open_: bytes, close: bytes, after: bytes, depth: int) -> bytes:
    return safetensors(before + open_ * depth + b"1" + close * depth + after)


def other_things() -> Cases:
    yield from {
        "empty": b"",
        "html": b"<!DOCTYPE html><html>Not found</html>",
        "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
        "json": b'{"error": "Repository not found"}',
        "gzip": b"\x1f\x8b" + bytes(40),
        "tar": b"pickle".ljust(257, b"\0") + b"ustar\x0000" + bytes(248),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
        "gguf": b"GGUF\3\0\0\0" + bytes(64),
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "empty zip": b"PK\5\6" + bytes(18),
    }.items()


def cases() -> Cases:
    yield from safetensors_truncated()
    yield from safetensors_lengths()
    yield from safetensors_numbers()
    yield from safetensors_entries()
    yield from safetensors_spans()
    yield from safetensors_json()
    yield from other_things()
