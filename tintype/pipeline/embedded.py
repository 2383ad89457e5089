"""The texts inside a picture's file: our record and A1111's "parameters", in PNG, JPEG and WebP.

PNG has chunks of text by key: ``parameters`` and ``tintype``. JPEG and WebP have EXIF, where the first is the
UserComment, as the web UI writes and reads it (``UNICODE`` and UTF-16, big end first), and the record is the MakerNote,
which is the place for what only its maker understands. What other programs leave is recognised by name.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tintype.errors import ImageError
from tintype.images import MAX_PIXELS
from tintype.pipeline.infotext import MAX_LENGTH, has_values

RECORD_KEY = "tintype"
PARAMETERS_KEY = "parameters"

MAKER = b"tintype\0"  # what our MakerNote begins with
MAX_EXIF = 65_500  # JPEG's segments hold 65,533 bytes, with "Exif\0\0"
EXIF_IFD = ExifTags.IFD.Exif
USER_COMMENT, MAKER_NOTE = ExifTags.Base.UserComment, ExifTags.Base.MakerNote
MAKE, MODEL, SOFTWARE = ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software

# The keys of PNG texts by which other programs are known.
PROGRAMS = {
    "workflow": "ComfyUI",
    "prompt": "ComfyUI",
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "Dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
}
SOFTWARES = ("NovelAI", "Fooocus", "InvokeAI", "ComfyUI")


@dataclass(frozen=True)
class Embedded:
    """What a picture's file says of how it was made.

    ``record`` is ours, as it was given to ``save_image``; ``parameters`` the text of A1111 and its kin; ``program``
    another program that left its mark; ``notices`` name what is there and cannot be read.
    """

    record: dict[str, Any] | None = None
    parameters: str | None = None
    program: str | None = None
    notices: tuple[str, ...] = ()


def png_texts(record: Mapping[str, Any] | None, parameters: str | None) -> PngInfo:
    """The texts as chunks. What is not Latin-1 becomes an iTXt chunk, of UTF-8."""
    info = PngInfo()
    if parameters:
        text = _encodable(parameters)
        info.add_text(PARAMETERS_KEY, text) if text.isascii() else info.add_itxt(PARAMETERS_KEY, text)
    if record is not None:
        info.add_text(RECORD_KEY, json.dumps(record))  # JSON escapes what is not ASCII
    return info


def exif(record: Mapping[str, Any] | None, parameters: str | None, limit: int | None = MAX_EXIF) -> bytes:
    """The texts as EXIF. What would pass the limit is left out: the parameters first, for the record says more."""
    note = None if record is None else MAKER + json.dumps(record).encode()
    comment = b"UNICODE\0" + _encodable(parameters).encode("utf-16-be") if parameters else None
    for chosen in ((note, comment), (note, None), (None, comment)):
        tags = Image.Exif()
        values = {MAKER_NOTE: chosen[0], USER_COMMENT: chosen[1]}
        tags.get_ifd(EXIF_IFD).update({tag: value for tag, value in values.items() if value is not None})
        data = tags.tobytes() if any(chosen) else b""
        if limit is None or len(data) <= limit:
            return data
    return b""


def fits(record: Mapping[str, Any] | None, parameters: str | None) -> str | None:
    """None where a JPEG has room for both texts, else what it will lack."""
    whole, kept = exif(record, parameters, None), exif(record, parameters)
    if len(kept) == len(whole):
        return None
    lost = "its settings" if not kept or MAKER not in kept else "A1111's text of them"
    return f"A JPEG holds 64 KB of text; it was saved without {lost}. Save it as .png or .webp to keep them."


def read_embedded(source: str | Path | Image.Image) -> Embedded:
    """The texts of a picture. Nothing in them is trusted: what is damaged becomes a notice.

    Raises:
        ImageError: no such file, or not a picture.
    """
    with warnings.catch_warnings(record=True) as complaints:  # Pillow's, of what it passes over
        warnings.simplefilter("always")
        if isinstance(source, Image.Image):
            texts, notices = _texts(source)
        else:
            with _open(Path(source)) as image:
                texts, notices = _texts(image)
    if complaints and not notices:
        notices = ("A part of the picture's texts is damaged and was passed over.",)
    record = None
    if RECORD_KEY in texts:
        record = _json_object(texts[RECORD_KEY])
        if record is None:
            notices += ("The picture has a record of Tintype, and it is damaged.",)
    parameters = texts.get(PARAMETERS_KEY)
    if parameters is not None and len(parameters) > MAX_LENGTH:
        notices += (f"The picture has a text of {len(parameters):,} characters, which is too long to be settings.",)
        parameters = None
    program = _program(texts)
    if parameters is not None and not has_values(parameters) and _json_object(parameters) is not None:
        program = program or ("SwarmUI" if "sui_image_params" in parameters else "Fooocus")
        parameters = None
    return Embedded(record, parameters, program, notices)


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise ImageError(f"There is no file {str(path)!r}.") from None
    except Exception as error:  # what decoders raise on damaged files is of any kind
        raise ImageError(f"{str(path)!r} is not a picture of a known kind; PNG, JPEG and WebP are some.") from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{str(path)!r} is {image.width}x{image.height}; expected at most {MAX_PIXELS:,} pixels.")
    return image


def _texts(image: Image.Image) -> tuple[dict[str, str], tuple[str, ...]]:
    """Every text by its PNG key, or by the key that it would have there."""
    texts: dict[str, str] = {}
    notices: tuple[str, ...] = ()
    try:
        found = dict(getattr(image, "text", None) or {})  # of PNG: reads to the end, where texts may stand too
        texts = {str(key): str(value) for key, value in found.items()}
    except Exception:  # as above
        notices += ("The picture's texts cannot be read; its file is damaged.",)
        texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    try:
        tags = image.getexif()
        inner = tags.get_ifd(EXIF_IFD) if EXIF_IFD in tags else {}
        note, comment = inner.get(MAKER_NOTE), inner.get(USER_COMMENT, tags.get(USER_COMMENT))
        if isinstance(note, bytes) and note.startswith(MAKER) and RECORD_KEY not in texts:
            texts[RECORD_KEY] = note[len(MAKER) :].decode("utf-8", "replace")
        if comment and PARAMETERS_KEY not in texts:
            texts[PARAMETERS_KEY] = comment if isinstance(comment, str) else _comment(bytes(comment))
        for tag in (MAKE, MODEL):  # where ComfyUI's WebP files have "workflow:{...}" and "prompt:{...}"
            key, _, value = str(tags.get(tag, "")).partition(":")
            if key in ("workflow", "prompt"):
                texts.setdefault(key, value)
        if SOFTWARE in tags:
            texts.setdefault("Software", str(tags[SOFTWARE]))
    except Exception:  # as above
        notices += ("The picture's EXIF cannot be read; its file is damaged.",)
    return texts, notices


def _comment(data: bytes) -> str:
    """A UserComment, by the eight bytes that name its code. In which order UTF-16 has its bytes is not said."""
    code, rest = data[:8], data[8:]
    if code == b"UNICODE\0":
        if rest[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return rest.decode("utf-16", "replace")
        both = [rest.decode(name, "replace") for name in ("utf-16-be", "utf-16-le")]
        return max(both, key=lambda text: sum(character.isascii() for character in text))
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        return rest.decode("utf-8", "replace").rstrip("\0")
    return data.decode("utf-8", "replace").rstrip("\0")


def _program(texts: Mapping[str, str]) -> str | None:
    for key, program in PROGRAMS.items():
        if key in texts:
            return program
    software = texts.get("Software", "")
    return next((program for program in SOFTWARES if software.startswith(program)), None)


def _json_object(text: str) -> dict[str, Any] | None:
    if len(text) > MAX_LENGTH:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _encodable(text: str) -> str:
    """Half surrogates, which no encoding holds, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
