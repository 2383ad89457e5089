"""CLIP's tokenizer: text -> ids of pieces of words, and back.

Lower-cased, byte-level byte-pair encoding with ``</w>`` at the end of words, computed by the ``tokenizers`` library
and equal to transformers' ``CLIPTokenizer`` on the same files. Nothing here knows about 77 tokens or padding
beyond the numbers that the files state: see ``prompt.py``.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tintype.errors import CheckpointError
from tintype.text.byte_pairs import END_OF_WORD, Pair, byte_alphabet, learn_merges

START, END = "<|startoftext|>", "<|endoftext|>"
VERSION_LINE = "#version: 0.2"

# CLIP's words: the two specials, English contractions, runs of letters, single digits, runs of anything else.
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class SpecialTokens:
    """The names of a vocabulary's special tokens.

    ``normalized`` says whether they are looked for in the lower-cased text (``<|ENDOFTEXT|>`` counts) or as written.
    SD 2 pads with "!", the vocabulary's first entry; like transformers we then read every "!" in a prompt as it.
    """

    start: AddedToken
    end: AddedToken
    pad: AddedToken

    @staticmethod
    def clip(pad: str = END) -> SpecialTokens:
        """As OpenAI's files state them."""
        return SpecialTokens(
            start=AddedToken(START, normalized=True, special=True),
            end=AddedToken(END, normalized=True, special=True),
            pad=AddedToken(pad, normalized=pad == END, special=True),
        )


class Tokenizer:
    """Byte-pair encoding in CLIP's form.

    ``start``, ``end`` and ``pad`` are ids; ``max_length`` is the length that the text encoder was built for (77).
    ``added``: words, in lower case, that stand for ids beyond the vocabulary (textual inversion).
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Sequence[Pair],
        *,
        specials: SpecialTokens | None = None,
        max_length: int = 77,
    ) -> None:
        self.vocabulary = dict(vocabulary)
        self.merges: list[Pair] = [(first, second) for first, second in merges]
        self.specials = specials or SpecialTokens.clip()
        self.max_length = max_length
        self.added: dict[str, tuple[int, ...]] = {}
        for token in (self.specials.start, self.specials.end, self.specials.pad):
            if token.content not in self.vocabulary:
                raise CheckpointError(
                    f"The tokenizer's vocabulary has no {token.content!r}, which it names as a special token."
                )
        self.start = self.vocabulary[self.specials.start.content]
        self.end = self.vocabulary[self.specials.end.content]
        self.pad = self.vocabulary[self.specials.pad.content]
        self._backend = _backend(self.vocabulary, self.merges, self.specials)
        self._pieces = {index: piece for piece, index in self.vocabulary.items()}

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Text -> ids, without start, end or padding. Empty text is an empty list."""
        # A lone surrogate is no character and cannot be written as bytes; it becomes U+FFFD as in other decoders.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not self.added:
            return self._backend.encode(text, add_special_tokens=False).ids
        names = "|".join(re.escape(name) for name in sorted(self.added, key=len, reverse=True))
        ids: list[int] = []
        for place, part in enumerate(re.split(rf"(?<!\w)({names})(?!\w)", text, flags=re.IGNORECASE)):
            encoded = self._backend.encode(part, add_special_tokens=False).ids
            ids += self.added.get(part.lower(), encoded) if place % 2 else encoded
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Ids -> text, lower-cased, with one space between words. Start, end and padding are left out."""
        words = {numbers[0]: name for name, numbers in self.added.items()}
        parts: list[list[int] | str] = [[]]
        for index in ids:
            if index in words:
                parts += [f" {words[index]} ", []]
            elif isinstance(parts[-1], list):
                parts[-1].append(index)  # the backend leaves out ids that it does not know
        said = [part if isinstance(part, str) else self._plain(part) for part in parts]
        return " ".join("".join(said).split()) if words else "".join(said).strip()

    def _plain(self, ids: list[int]) -> str:
        return self._backend.decode(ids, skip_special_tokens=True).replace(END_OF_WORD, " ")

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Each id as readable text: what ends a word ends in a space. Halves of a character show as U+FFFD."""
        return [self._readable(self._pieces[index]) for index in ids]

    def _readable(self, piece: str) -> str:
        if piece in (self.specials.start.content, self.specials.end.content):
            return piece
        stem = piece.removesuffix(END_OF_WORD)
        text = bytes(_BYTES[character] for character in stem).decode("utf-8", "replace")
        return text + " " * (stem != piece)

    @staticmethod
    def train(captions: Iterable[str], vocab_size: int = 4096) -> Tokenizer:
        """A tokenizer learned from captions: 512 byte symbols, merges, and the two specials last.

        Deterministic, whatever the order of the captions. ``vocab_size`` is at most what comes out: merging stops
        when nothing occurs twice.
        """
        num_merges = vocab_size - 514
        if num_merges < 0:
            raise ValueError(f"vocab_size is {vocab_size}; the 512 byte symbols and two specials need 514.")
        words: Counter[str] = Counter()
        for caption, count in Counter(captions).items():
            for word, _ in _SPLIT.pre_tokenize_str(_NORMALIZE.normalize_str(caption)):
                words[word] += count
        return _from_merges(learn_merges(words, num_merges))

    @staticmethod
    def clip(pad: str = END) -> Tokenizer:
        """OpenAI's tokenizer (49,408 entries), which every CLIP of the world reads with; single files bring none.

        ``pad`` fills a chunk up: the end token in SD 1 and in SDXL's first tower, "!" in SD 2 and SDXL's second.
        """
        lines = gzip.decompress((Path(__file__).parent / "clip_merges.txt.gz").read_bytes()).decode().splitlines()
        return _from_merges([_pair(line) for line in lines[1:]], SpecialTokens.clip(pad))

    @staticmethod
    def load(folder: str | Path) -> Tokenizer:
        """Reads the ``tokenizer`` folder of a model: vocab.json and merges.txt, or tokenizer.json alone.

        Raises ``CheckpointError`` for files that are missing, damaged or not in CLIP's form.
        """
        folder = Path(folder)
        try:
            stated: dict[str, dict] = {}
            if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
                vocabulary = _read_json(folder / "vocab.json")
                merges = _read_merges(folder / "merges.txt")
            elif (folder / "tokenizer.json").is_file():
                vocabulary, merges, stated = _read_fast(folder / "tokenizer.json")
            else:
                raise CheckpointError(
                    f"No tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json."
                )
            config = _optional_json(folder / "tokenizer_config.json")
            # Where the two disagree (SD 2.1: "!" against "<|endoftext|>") the map is what the model was trained with.
            named = config | _optional_json(folder / "special_tokens_map.json")
            start, end, pad = (
                named.get(f"{name}_token", default) for name, default in (("bos", START), ("eos", END), ("pad", END))
            )
            specials = SpecialTokens(*(_special(token, stated) for token in (start, end, pad)))
            max_length = config.get("model_max_length", 77)
            # transformers writes 1e30 for "no limit"; CLIP's text encoders have 77 positions.
            max_length = 77 if max_length > 1_000_000 else int(max_length)
            return Tokenizer(vocabulary, merges, specials=specials, max_length=max_length)
        except CheckpointError:
            raise
        except Exception as error:  # json, unicode, and the library's own bare Exception on bad merges
            raise CheckpointError(f"The tokenizer in {folder} cannot be read: {error}") from error

    def save(self, folder: str | Path) -> None:
        """Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json, as transformers reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        ordered = dict(sorted(self.vocabulary.items(), key=lambda entry: entry[1]))
        _write_json(folder / "vocab.json", ordered, indent=None)
        lines = [VERSION_LINE, *(" ".join(pair) for pair in self.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        named = {
            "bos_token": _special_json(self.specials.start),
            "eos_token": _special_json(self.specials.end),
            "pad_token": _special_json(self.specials.pad),
            "unk_token": _special_json(self.specials.end),
        }
        config = {
            "add_prefix_space": False,
            **{name: {"__type": "AddedToken"} | token for name, token in named.items()},
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": self.max_length,
            "tokenizer_class": "CLIPTokenizer",
        }
        _write_json(folder / "tokenizer_config.json", config)
        _write_json(folder / "special_tokens_map.json", named)


_BYTES = {character: byte for byte, character in byte_alphabet().items()}
_NORMALIZE = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
_SPLIT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)


def _from_merges(merges: Sequence[Pair], specials: SpecialTokens | None = None) -> Tokenizer:
    """The tokenizer whose vocabulary is the 512 byte symbols, what each merge makes, and the two specials."""
    letters = list(byte_alphabet().values())
    # Two merges can build one piece in two ways: it has one entry.
    pieces = dict.fromkeys([*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, merges)])
    vocabulary = {piece: index for index, piece in enumerate([*pieces, START, END])}
    return Tokenizer(vocabulary, merges, specials=specials)


def _backend(vocabulary: dict[str, int], merges: list[Pair], specials: SpecialTokens) -> Backend:
    backend = Backend(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix=END_OF_WORD,
            unk_token=specials.end.content,
        )
    )
    backend.normalizer = _NORMALIZE
    backend.pre_tokenizer = _SPLIT
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([specials.start, specials.end, specials.pad])
    return backend


def _read_json(path: Path) -> dict:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not a {type(content).__name__}.")
    return content


def _optional_json(path: Path) -> dict:
    return _read_json(path) if path.is_file() else {}


def _write_json(path: Path, content: dict, indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8", newline="\n")


def _read_merges(path: Path) -> list[Pair]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]


def _pair(merge: str | Sequence[str]) -> Pair:
    parts = merge.split() if isinstance(merge, str) else merge
    if len(parts) != 2:
        raise CheckpointError(f"A merge is two pieces; got {merge!r}.")
    return parts[0], parts[1]


def _read_fast(path: Path) -> tuple[dict[str, int], list[Pair], dict[str, dict]]:
    """The vocabulary, the merges and what is stated of special tokens in a tokenizer.json of CLIP's form."""
    content = _read_json(path)
    model = content["model"]
    if model.get("type", "BPE") != "BPE" or model.get("end_of_word_suffix") != END_OF_WORD:
        raise CheckpointError(f"{path} is not a tokenizer in CLIP's form (byte pairs with {END_OF_WORD!r}).")
    stated = {token["content"]: token for token in content.get("added_tokens", [])}
    added = [token for token in stated if token not in model["vocab"]]
    if added:
        raise CheckpointError(f"{path} has added tokens, which are not supported: {', '.join(added[:8])}.")
    return model["vocab"], [_pair(merge) for merge in model["merges"]], stated


def _special(token: str | dict, stated: dict[str, dict]) -> AddedToken:
    """A special token as the configuration words it: a name, or its name with flags."""
    if isinstance(token, str):
        token = stated.get(token, token)
    if isinstance(token, str):
        return AddedToken(token, normalized=False, special=True)
    flags = {name: bool(token.get(name, False)) for name in ("lstrip", "rstrip", "single_word")}
    return AddedToken(token["content"], normalized=bool(token.get("normalized", True)), special=True, **flags)


def _special_json(token: AddedToken) -> dict:
    flags = {name: getattr(token, name) for name in ("lstrip", "normalized", "rstrip", "single_word")}
    return {"content": token.content, **flags}
