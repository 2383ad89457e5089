"""Our tokenizer is transformers' CLIPTokenizer, on a vocabulary that we trained."""

from __future__ import annotations

import json
import random

import pytest
import transformers

from tintype.errors import CheckpointError
from tintype.text.tokenizer import Tokenizer

CAPTIONS = [
    f"{size} {color} {shape} {place} a {other}, {style}"
    for size in ("a small", "a large", "two")
    for color in ("red", "blue", "golden")
    for shape in ("boat", "moon", "house")
    for place in ("over", "beside")
    for other in ("beach", "hill")
    for style in ("in the cosmic style", "it's painted by hand 2024", "naïve 绘画")
]

TEXTS = [
    "",
    " ",
    "a",
    "A red BOAT over the Beach!!!",
    "it's the moon's house, they'll've 12,345.67 boats",
    "emoji 🚀🌙 and 👩‍👩‍👧 family 🇸🇪",
    "一艘红色的船在海滩上 こんにちは Привет",
    "control \x00\x01\x1b[0m\t\r\n\u200b\ufeff characters\x7f",
    "combining e\u0301 versus \u00e9, \u1e9e ß İ ı",
    "<|endoftext|> in <|STARTOFTEXT|> the middle <|endoftext|>x",
    "</w> a</w> b",
    "naïve\u00a0space\u2003em\u3000ideographic",
    "((weights:1.3)) [less] BREAK \\(escaped\\)",
    "ÿþ \ufffd \U0010ffff",
    "word " * 1000,
    "x" * 5000,
    "红" * 5000,
]


def random_texts(count: int) -> list[str]:
    """Strings drawn from all over Unicode, with a taste for what tokenizers stumble over."""
    rng = random.Random(0)
    pools = [
        "abcdefghij'",
        "0123456789",
        "!?.,;:<|>/\\()[]",
        " \t\n\r\u00a0\u2028",
        "éßİøÅ\u0301",
        "红船海",
        "🚀👩\u200d🇸",
        "\x00\x07\x7f",
    ]

    def character() -> str:
        if rng.random() < 0.1:
            code = rng.randrange(0x110000)
            return chr(code) if not 0xD800 <= code < 0xE000 else "?"
        return rng.choice(rng.choice(pools))

    return ["".join(character() for _ in range(rng.randrange(60))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, vocab_size=700)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def reference(folder):
    return transformers.CLIPTokenizer.from_pretrained(folder)


def test_ids_equal_transformers(tokenizer, reference):
    for text in TEXTS + random_texts(500):
        expected = reference(text, add_special_tokens=False).input_ids
        assert tokenizer.encode(text) == expected, repr(text[:80])


def test_decoded_text_equals_transformers(tokenizer, reference):
    for text in TEXTS + random_texts(100):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True), repr(text[:80])


def test_special_ids(tokenizer, reference):
    assert len(tokenizer) == len(reference)
    assert (tokenizer.start, tokenizer.end) == (len(tokenizer) - 2, len(tokenizer) - 1)
    assert (tokenizer.start, tokenizer.end) == (reference.bos_token_id, reference.eos_token_id)
    assert tokenizer.pad == reference.pad_token_id == tokenizer.end
    assert tokenizer.max_length == reference.model_max_length == 77


def test_vocabulary_is_in_clips_form(tokenizer):
    by_id = sorted(tokenizer.vocabulary, key=tokenizer.vocabulary.get)
    assert by_id[0] == "!" and by_id[256] == "!</w>" and by_id[511].endswith("</w>")
    assert sorted(tokenizer.vocabulary.values()) == list(range(len(tokenizer)))


def test_training_is_deterministic_and_knows_its_words(tokenizer):
    again = Tokenizer.train(reversed(CAPTIONS), vocab_size=700)
    assert again.vocabulary == tokenizer.vocabulary and again.merges == tokenizer.merges
    full = Tokenizer.train(CAPTIONS, vocab_size=4096)
    assert len(full) < 4096
    assert len(full.encode("red golden boat moon house cosmic beach painted")) == 8
    with pytest.raises(ValueError, match="514"):
        Tokenizer.train(CAPTIONS, vocab_size=100)


def test_save_load_save(folder, tokenizer, tmp_path):
    loaded = Tokenizer.load(folder)
    loaded.save(tmp_path)
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_transformers_own_files_are_read(reference, tokenizer, tmp_path):
    reference.save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.json").exists()  # transformers 5 writes tokenizer.json alone
    loaded = Tokenizer.load(tmp_path)
    again = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert loaded.encode(text) == again(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("named_in", ["tokenizer_config.json", "special_tokens_map.json"])
def test_padding_of_sd2(folder, tmp_path, named_in):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if named_in == "tokenizer_config.json":
        (tmp_path / "special_tokens_map.json").unlink()
    content = json.loads((tmp_path / named_in).read_text())
    content["pad_token"] = "!"
    (tmp_path / named_in).write_text(json.dumps(content))
    loaded = Tokenizer.load(tmp_path)
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert loaded.pad == reference.pad_token_id == 0
    assert loaded.end == len(loaded) - 1
    for text in TEXTS:
        assert loaded.encode(text) == reference(text, add_special_tokens=False).input_ids, text[:40]


def test_tokens_join_to_the_text():
    tokenizer = Tokenizer.train(CAPTIONS, vocab_size=4096)
    pieces = tokenizer.tokens([tokenizer.start, *tokenizer.encode("A red submarine"), tokenizer.end])
    assert pieces[0] == "<|startoftext|>" and pieces[-1] == "<|endoftext|>"
    assert pieces[1:3] == ["a ", "red "] and "".join(pieces[3:-1]) == "submarine "
    assert tokenizer.tokens(tokenizer.encode("é"))[-1].endswith(" ")


def test_lone_surrogate_is_read_as_the_replacement_character(tokenizer):
    assert tokenizer.encode("a \ud800 b") == tokenizer.encode("a \ufffd b")
    assert tokenizer.encode("🚀") == tokenizer.encode("\ud83d\ude80")


@pytest.mark.parametrize(
    "damage",
    [
        {"vocab.json": None},
        {"vocab.json": "[1, 2]"},
        {"vocab.json": "{"},
        {"vocab.json": "{}"},
        {"merges.txt": "#version: 0.2\na b c\n"},
        {"merges.txt": "#version: 0.2\nqq zz\n"},
        {"tokenizer_config.json": "[]"},
        {"special_tokens_map.json": '{"pad_token": "<nothing>"}'},
    ],
)
def test_damaged_folders_are_one_typed_error(folder, tmp_path, damage):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name, content in damage.items():
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError):
        Tokenizer.load(tmp_path)
