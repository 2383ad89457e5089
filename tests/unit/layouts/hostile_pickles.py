"""Pickles that would run something, never end, or describe tensors that cannot be: what each is, and its bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.unit.layouts.hostile_safetensors import Cases, Content
from tests.unit.layouts.saved_files import (
    CONTAINERS,
    ORDERED,
    as_zip,
    name,
    number,
    numbers,
    program,
    state,
    storage,
    tensor,
    text,
    tuple_of,
)

CALLS = {
    "os.system": ("os", "system"),
    "posix.system": ("posix", "system"),
    "nt.system": ("nt", "system"),
    "os.execvp": ("os", "execvp"),
    "subprocess.Popen": ("subprocess", "Popen"),
    "subprocess.getoutput": ("subprocess", "getoutput"),
    "builtins.eval": ("builtins", "eval"),
    "builtins.exec": ("builtins", "exec"),
    "__builtin__.eval": ("__builtin__", "eval"),
    "builtins.__import__": ("builtins", "__import__"),
    "builtins.open": ("builtins", "open"),
    "runpy.run_path": ("runpy", "run_path"),
    "pty.spawn": ("pty", "spawn"),
    "importlib.import_module": ("importlib", "import_module"),
    "shutil.rmtree": ("shutil", "rmtree"),
    "sys.exit": ("sys", "exit"),
    "pickle.loads": ("pickle", "loads"),
    "webbrowser.open": ("webbrowser", "open"),
    # not known for harm, so inert records; there is nothing else in the file
    "builtins.getattr": ("builtins", "getattr"),
    "builtins.print": ("builtins", "print"),
    "torch.load": ("torch", "load"),
    "torch.hub.load": ("torch.hub", "load"),
    "torch.jit.load": ("torch.jit", "load"),
    "numpy runstring": ("numpy.testing._private.utils", "runstring"),
    "operator.methodcaller": ("operator", "methodcaller"),
    "types.FunctionType": ("types", "FunctionType"),
    "torch._utils._rebuild_meta": ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    "pathlib.Path.unlink": ("pathlib", "Path.unlink"),
    "os module itself": ("os", "path"),
}


def calls(canary: Path) -> Cases:
    """Every way to call a function, with a command that would leave the canary behind."""
    words = text(f"touch {canary}")
    for label, (module, attribute) in CALLS.items():
        function = name(module, attribute)
        by_stack = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(attribute)])
        forms = {
            "REDUCE": function + tuple_of(words) + b"R",
            "REDUCE by STACK_GLOBAL": by_stack + attribute.encode() + b"\x93" + tuple_of(words) + b"R",
            "NEWOBJ": function + tuple_of(words) + b"\x81",
            "NEWOBJ_EX": function + tuple_of(words) + b"}\x92",
            "in a state dict": state(state_dict=function + tuple_of(words) + b"R"),
            "nested": name("builtins", "list") + tuple_of(function + tuple_of(words) + b"R") + b"R",
        }
        for form, body in forms.items():
            if module in ("builtins", "torch") and form == "nested":
                continue
            for container in ("zip", "pickles"):
                if container == "pickles" and form.startswith("NEWOBJ"):
                    continue
                made = program(body)
                yield (
                    f"{label} by {form} in {container}",
                    CONTAINERS[container](made, b"" if container != "zip" else bytes(32)),
                )


def beside_tensors(canary: Path) -> Cases:
    """Harm beside tensors that would read well."""
    words = text(f"touch {canary}")
    for label in ("os.system", "posix.system", "builtins.exec", "subprocess.Popen", "builtins.__import__"):
        call = name(*CALLS[label]) + tuple_of(words) + b"R"
        hooks = tuple_of(storage(), number(0), numbers(2, 4), numbers(4, 1), b"\x89", call)
        for place, body in {
            "before": state(a=call, w=tensor()),
            "after": state(w=tensor(), a=call),
            "let fall": call + b"0" + state(w=tensor()),
            "hooks": state(w=name("torch._utils", "_rebuild_tensor_v2") + hooks + b"R"),
            "key": b"}(" + call + tensor() + text("w") + tensor() + b"u",
            "BUILD": state(w=tensor()) + state(__setstate__=name(*CALLS[label])) + b"b",
            "device": state(
                w=tensor(tuple_of(text("storage"), name("torch", "FloatStorage"), text("0"), call, number(8)) + b"Q")
            ),
        }.items():
            for container, wrap in CONTAINERS.items():
                yield f"{label} {place} tensors in {container}", wrap(program(body))


def machines(canary: Path) -> Cases:
    """Programs that are no program, or never end, or grow."""
    command = f"touch {canary}".encode()
    laughs = b"]q\0" + b"".join(
        b"(" + b"h" + bytes([i]) * 1 + (b"h" + bytes([i])) * 9 + b"lq" + bytes([i + 1]) for i in range(60)
    )
    tuples = b")q\0" + b"".join((b"h" + bytes([i])) * 3 + b"\x87q" + bytes([i + 1]) for i in range(100))
    dicts = b"}q\0" + b"".join(
        b"}(" + b"".join(text(k) + b"h" + bytes([i]) for k in "abcd") + b"uq" + bytes([i + 1]) for i in range(40)
    )
    bodies: dict[str, Content] = {
        "billion laughs in lists": laughs,
        "billion laughs in tuples": tuples,
        "billion laughs in dicts": dicts,
        "billion laughs as a state dict": b"}" + text("state_dict") + dicts + b"s",
        "billion laughs as a key": b"}" + tuples + b"Ns",
        "billion laughs as a record": name("a", "B") + tuples + b"R",
        "a dict that holds itself": b"}q\0" + text("state_dict") + b"h\0s",
        "a dict that holds itself under a name": b"}q\0" + text("x") + b"h\0s",
        "a list that holds itself": b"]q\0h\0a",
        "INST": b"(" + b"S'" + command + b"'\n" + b"ios\nsystem\n",
        "OBJ": b"(" + name("os", "system") + text(command.decode()) + b"o",
        "OBJ of a harmless class": b"(" + name("a", "B") + b"o",
        "PERSID": b"P" + command + b"\n",
        "BINPERSID of a text": text(command.decode()) + b"Q",
        "BINPERSID of nothing": tuple_of() + b"Q",
        "BINPERSID of another kind": tuple_of(text("file"), text("x")) + b"Q",
        "BINPERSID too short": tuple_of(text("storage"), name("torch", "FloatStorage")) + b"Q",
        "EXT1": b"\x82\1",
        "EXT2": b"\x83\1\0",
        "EXT4": b"\x84\1\0\0\0",
        "EXT of 0": b"\x82\0",
        "NEXT_BUFFER": b"\x97",
        "READONLY_BUFFER": b"N\x98",
        "STRING": b"S'a'\n",
        "UNICODE": b"V\\u0061\n",
        "text LONG": b"L" + b"9" * 5000 + b"L\n",
        "text INT": b"I" + b"9" * 900 + b"\n",
        "text INT without end": b"I" + b"9" * 5000,
        "text INT of words": b"Iabc\n",
        "protocol 6": b"\x80\6N",
        "protocol 255": b"\x80\xffN",
        "unknown opcode": b"\xff",
        "opcode 0": b"\0",
        "BUILD of a text": text("a") + b"Nb",
        "BUILD of a name": name("a", "B") + b"}b",
        "REDUCE of a text": text("os.system") + tuple_of() + b"R",
        "REDUCE of a number": number(5) + tuple_of() + b"R",
        "REDUCE of a tensor": tensor() + tuple_of() + b"R",
        "REDUCE with a list": name("a", "B") + b"]R",
        "REDUCE of what a REDUCE gave": name("builtins", "getattr") + b")R" + tuple_of(text("x")) + b"R",
        "NEWOBJ of a text": text("a") + b")\x81",
        "STACK_GLOBAL of numbers": number(1) + number(2) + b"\x93",
        "STACK_GLOBAL of names": name("a", "B") + name("a", "C") + b"\x93",
        "APPEND to a text": text("a") + b"Na",
        "APPEND to a dict": b"}Na",
        "SETITEM of a list": b"]NNs",
        "SETITEMS of an odd number": b"}(NNNu",
        "APPENDS to nothing": b"(Ne",
        "GET of nothing": b"h\7",
        "LONG_BINGET of nothing": b"j\xff\xff\xff\xff",
        "PUT far away": b"Nr\xff\xff\xff\xff",
        "marks without end": b"(" * 100_000,
        "TUPLE without mark": b"t",
        "LIST without mark": b"l",
        "POP_MARK without mark": b"1",
        "FRAME longer than the file": b"\x95" + b"\xff" * 8 + b"N",
        "a line without end": b"c" + b"a" * 20_000,
        "a name that is no text": b"c\xff\xfe\n\xff\n",
        "text that is no text": b"X\2\0\0\0\xff\xfe",
        "_codecs.encode by another codec": name("_codecs", "encode") + tuple_of(text("a"), text("zip")) + b"R",
        "_codecs.encode of a number": name("_codecs", "encode") + tuple_of(number(1), text("latin1")) + b"R",
        "OrderedDict of numbers": name("collections", "OrderedDict") + tuple_of(number(1)) + b"R",
        "OrderedDict of lists": name("collections", "OrderedDict") + tuple_of(b"](]]]e") + b"R",
        "torch.Size of text": name("torch", "Size") + tuple_of(text("a")) + b"R",
        "_rebuild_parameter of text": name("torch._utils", "_rebuild_parameter") + tuple_of(text("a")) + b"R",
        "_rebuild_tensor_v2 of nothing": name("torch._utils", "_rebuild_tensor_v2") + b")R",
        "_rebuild_from_type_v2 of os.path": name("torch._tensor", "_rebuild_from_type_v2")
        + tuple_of(name("posixpath", "join"), name("torch", "Tensor"), tuple_of(), b"}")
        + b"R",
        "_rebuild_from_type_v2 of itself": name("torch._tensor", "_rebuild_from_type_v2")
        + tuple_of(name("torch._tensor", "_rebuild_from_type_v2"), name("torch", "Tensor"), tuple_of(), b"}")
        + b"R",
        "a name of a megabyte": lambda: state(**{"w" * 10**6: tensor()}),
        "names that grow": lambda: b"}" + (text("x" * 400) + b"}") * 8 + text("w") + tensor() + b"s" * 9,
        "memories without end": lambda: b"N" + b"\x94" * 449_000,
        "new things remembered without end": lambda: b"]\x94" * 224_000,
        "records without end": lambda: name("a", "B") + b"q\0" + b"h\0)R" * 149_000,
        "records with entries": lambda: name("a", "B") + b"q\0" + b"h\0)RNNs" * 74_000,
        "dicts with entries": lambda: b"}NNs" * 112_000,
        "a million lists": lambda: b"(" + b"]" * 10**6 + b"l",
        "a million dicts in each other": lambda: b"}" * 10**6,
        "a million tuples in each other": lambda: b")" + b"\x85" * 10**6,
        "nearly half a million tuples in each other": lambda: b")" + b"\x85" * 440_000,
        "nearly half a million lists in each other": lambda: b"]" * 224_000 + b"a" * 223_999,
        "nearly half a million sets": lambda: b"(" + b"\x8f" * 440_000 + b"l",
        "a million copies": lambda: b"]" + b"2" * 10**6 + b".",
        "keys that collide": lambda: b"}(" + b"".join(number((2**61 - 1) * i) + b"N" for i in range(1, 222_000)) + b"u",
        "tuples as keys": lambda: b"}(" + b"".join(b")\x85N" for i in range(150_000)) + b"u",
        "ten megabytes of text": lambda: text("x" * 10**7),
        "seventeen megabytes of text": lambda: text("x" * 17 * 10**6),
    }  # fmt: skip
    for opcode in (
        "R",
        "b",
        "a",
        "e",
        "s",
        "u",
        "Q",
        "q\0",
        "\x94",
        "0",
        "2",
        "\x85",
        "\x86",
        "\x87",
        "\x81",
        "\x92",
        "\x93",
        "\x90",
    ):
        bodies[f"empty stack, opcode {ord(opcode[0]):#x}"] = opcode.encode("latin-1")
    for label, opcode in {"BINUNICODE": b"X", "BINBYTES": b"B", "BINSTRING": b"T"}.items():
        for length in (100, 2**31 - 1, 2**31, 2**32 - 1):
            bodies[f"{label} of {length} bytes"] = opcode + struct.pack("<I", length) + b"x"
    for label, opcode in {"BINUNICODE8": b"\x8d", "BINBYTES8": b"\x8e", "BYTEARRAY8": b"\x96"}.items():
        for length in (100, 2**32, 2**63 - 1, 2**63, 2**64 - 1):
            bodies[f"{label} of {length} bytes"] = opcode + struct.pack("<Q", length) + b"x"
    for length in (-1, -(2**31), 1000, 2**31 - 1):
        bodies[f"LONG4 of {length} bytes"] = b"\x8b" + struct.pack("<i", length) + bytes(1200)
    bodies["LONG1 longer than the file"] = b"\x8a\xff"
    bodies["BINFLOAT cut"] = b"G\0\0"
    for at, (label, body) in enumerate(bodies.items()):
        if callable(body):  # large: one container is enough
            container = ("zip", "pickles")[at % 2]
            yield f"{label} in {container}", partial(_late, CONTAINERS[container], body)
            continue
        for container, wrap in CONTAINERS.items():
            yield f"{label} in {container}", wrap(program(body))
    yield "no STOP in zip", as_zip(b"\x80\x02" + state(w=tensor()))
    yield "an empty pickle in zip", as_zip(b"")


def _late(wrap: Callable[[bytes], bytes], body: Callable[[], bytes]) -> bytes:
    return wrap(program(body()))


def tensors() -> Cases:
    """Tensors that do not lie in their storages of 8 numbers, or are not made of what tensors are made of."""
    shapes = {
        "more rows than there are": (0, (3, 4), (4, 1)),
        "strides beyond": (0, (2, 4), (5, 1)),
        "offset beyond": (1, (2, 4), (4, 1)),
        "offset far beyond": (2**62, (1,), (1,)),
        "offset negative": (-1, (2,), (1,)),
        "size negative": (0, (-2, -4), (4, 1)),
        "stride negative": (4, (2, 2), (-2, 1)),
        "expanded": (0, (1000, 8), (0, 1)),
        "expanded without end": (0, (2**40, 2**20), (0, 0)),
        "one number everywhere": (0, (2**62,), (0,)),
        "product overflows": (0, (2**32, 2**32), (1, 1)),
        "product overflows to 0": (0, (2**32, 2**32, 2**32), (0, 0, 0)),
        "span overflows": (0, (2, 2), (2**63 - 1, 1)),
        "size over 63 bits": (0, (2**64,), (1,)),
        "size of a thousand bits": (0, (2**1000,), (1,)),
        "overlapping windows": (0, (5, 4), (1, 1)),
        "more strides than sizes": (0, (2,), (4, 1)),
        "more sizes than strides": (0, (2, 4), (4,)),
        "seventeen dimensions": (0, (1,) * 17, (1,) * 17),
        "a thousand dimensions": (0, (1,) * 1000, (1,) * 1000),
    }
    bodies = {label: tensor(None, number(o), numbers(*s), numbers(*t)) for label, (o, s, t) in shapes.items()}
    values = {
        "text": text("8"),
        "fraction": b"G" + struct.pack(">d", 2),
        "NaN": b"G" + struct.pack(">d", float("nan")),
        "infinity": b"G" + struct.pack(">d", float("inf")),
        "True": b"\x88",
        "None": b"N",
        "a list": b"]",
        "a name": name("a", "B"),
    }
    for what, value in values.items():
        bodies[f"offset {what}"] = tensor(offset=value)
        bodies[f"size {what}"] = tensor(shape=tuple_of(value), strides=numbers(1))
        bodies[f"stride {what}"] = tensor(shape=numbers(2), strides=tuple_of(value))
        bodies[f"storage count {what}"] = tensor(storage(count=value))
        bodies[f"storage {what}"] = tensor(value)
        if what != "text":
            bodies[f"storage key {what}"] = tensor(storage(key=value))
        bodies[f"storage type {what}"] = tensor(storage(kind=value))
    for count in (-1, 9, 2**31, 2**61, 2**63, 2**64):
        bodies[f"storage of {count}"] = tensor(storage(count=number(count)))
    bodies["storage of 16-byte numbers"] = tensor(storage(kind=name("torch", "ComplexDoubleStorage")))
    for kind in ("QInt8Storage", "Tensor", "FooStorage"):
        bodies[f"storage type {kind}"] = tensor(storage(kind=name("torch", kind)))
    bodies["storage type of another module"] = tensor(storage(kind=name("evil", "FloatStorage")))
    bodies["storage that is not there"] = tensor(storage(key=text("1")))
    bodies["storage outside"] = tensor(storage(key=text("../../data.pkl")))
    for what, kind in {"not known": name("torch", "float1"), "a text": text("torch.float32")}.items():
        args = tuple_of(storage(), number(0), numbers(2), numbers(1), b"\x89", ORDERED, kind)
        bodies[f"type {what}"] = name("torch._utils", "_rebuild_tensor_v3") + args + b"R"
    bodies["one storage, two types"] = tensor() + b"0" + tensor(storage(kind=name("torch", "IntStorage")))
    bodies["one storage, two sizes"] = (
        tensor() + b"0" + tensor(storage(count=number(7)), shape=numbers(2), strides=numbers(1))
    )
    for label, body in bodies.items():
        for container, wrap in CONTAINERS.items():
            yield f"tensor: {label} in {container}", wrap(program(state(w=body)))
    many = b"".join(text(f"w{i}") + b"h\1" for i in range(5000))
    large = tensor(storage(count=number(25_000)), shape=numbers(25_000), strides=numbers(1))
    yield "five thousand names of one tensor in zip", as_zip(program(large + b"q\0010}(" + many + b"u"), bytes(100_000))


def cases(canary: Path) -> Cases:
    yield from calls(canary)
    yield from beside_tensors(canary)
    yield from machines(canary)
    yield from tensors()
