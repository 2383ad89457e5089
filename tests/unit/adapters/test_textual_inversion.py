"""Textual inversion: every form of file, attached and let go without a trace; equal to diffusers'."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from typer.testing import CliRunner

import tintype
from tintype.adapters.places import embedding_folders, find_embeddings
from tintype.adapters.textual_inversion import attach_embedding, load_embedding
from tintype.cli import app
from tintype.errors import CheckpointError, SettingsError
from tintype.models import TextEncoder, TextEncoderConfig
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.prompt import chunk
from tintype.text.tokenizer import Tokenizer

VECTORS = torch.arange(48, dtype=torch.float32).reshape(3, 16) / 48
WORDS = [f"{a} {b}" for a in ("red", "blue") for b in ("boat", "moon", "house")]


def tower(dim: int = 16, seed: int = 0) -> Tower:
    torch.manual_seed(seed)
    tokenizer = Tokenizer.train(WORDS)
    config = TextEncoderConfig(
        vocab_size=len(tokenizer), dim=dim, num_layers=2, num_heads=2, mlp_dim=32, end_id=tokenizer.end
    )
    return Tower(tokenizer, TextEncoder(config))


def written(form: str, folder: Path) -> Path:
    """A file that holds ``VECTORS`` in one of the world's forms."""
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "style", "step": 9}
    path = folder / f"style.{form.split('-')[-1]}"
    if form == "module-pt":
        torch.save(a1111 | {"string_to_param": torch.nn.ParameterDict({"*": VECTORS})}, path)
    elif form == "a1111-pt":
        torch.save(a1111, path)
    elif form == "hf-bin":
        torch.save({"<style>": VECTORS}, path)
    elif form == "hf-safetensors":
        save_file({"<style>": VECTORS}, path)
    elif form == "scripts-safetensors":
        save_file({"emb_params": VECTORS}, path)
    else:
        content = a1111 | {"string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}}
        if form == "pixels-png":
            into_pixels(content, Image.radial_gradient("L").convert("RGB").resize((48, 32))).save(path)
            return path
        info = PngInfo()
        info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(content).encode()).decode())
        Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def into_pixels(content: dict, picture: Image.Image) -> Image.Image:
    """As A1111's web UI writes it: lower halves of bytes at the left, upper at the right, over a pattern."""
    packed = np.frombuffer(zlib.compress(json.dumps(content).encode(), 9), np.uint8)
    height = picture.height
    packed = np.resize(packed, -(-packed.size // (3 * height)) * 3 * height)  # repeated until it fills the block
    numbers, state = [], 0
    for _ in range(packed.size):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        numbers.append(state % 255 & 15)
    pattern = np.random.default_rng(0).integers(1, 16, packed.size) << 4
    sides = [
        Image.fromarray(((half ^ np.array(numbers)) | pattern).astype(np.uint8).reshape(height, -1, 3))
        for half in (packed & 15, packed >> 4)
    ]
    whole = Image.new("RGB", (picture.width + 2 * sides[0].width + 2, height))
    whole.paste(sides[0], (0, 0))
    whole.paste(picture, (sides[0].width + 1, 0))
    whole.paste(sides[1], (sides[0].width + picture.width + 2, 0))
    return whole


FORMS = ["a1111-pt", "module-pt", "hf-bin", "hf-safetensors", "scripts-safetensors", "a1111-png", "pixels-png"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form, tmp_path):
    embedding = load_embedding(written(form, tmp_path))
    assert embedding.token == ("<style>" if form.startswith("hf") else "style")
    np.testing.assert_allclose(embedding.vectors[0], VECTORS.numpy(), rtol=1e-6)
    assert find_embeddings([tmp_path]) == {"style": next(tmp_path.iterdir())}


def test_a_word_stands_for_its_vectors_and_goes_without_a_trace(tmp_path):
    conditioner = Conditioner(tower())
    encoder, tokenizer = conditioner.towers[0].encoder, conditioner.towers[0].tokenizer
    before, table = conditioner(["a style boat"]).context, encoder.token_embedding.weight.clone()
    first = attach_embedding(conditioner, written("a1111-pt", tmp_path))
    second = attach_embedding(conditioner, written("hf-bin", tmp_path), "other")
    ids = tokenizer.encode("a STYLE boat")
    plain = tokenizer.encode("a boat")
    assert ids == [*plain[:1], *range(len(table), len(table) + 3), *plain[1:]]
    assert tokenizer.decode(ids) == "a style boat" and tokenizer.encode("styles") == Tokenizer.train(WORDS).encode(
        "styles"
    )
    seen = torch.tensor([part.ids for part in chunk("a style boat", tokenizer).chunks])
    torch.testing.assert_close(encoder.token_embedding(seen)[0, 2:5], VECTORS)
    with_other = conditioner(["other moon"]).context
    assert not torch.equal(before, conditioner(["a style boat"]).context)
    first.detach()
    assert torch.equal(with_other, conditioner(["other moon"]).context)
    second.detach()
    second.detach()
    assert torch.equal(before, conditioner(["a style boat"]).context)
    assert torch.equal(table, encoder.token_embedding.weight) and not tokenizer.added


def test_a_pair_for_two_towers(tmp_path):
    conditioner = Conditioner(tower(), tower(24, seed=1))
    path = tmp_path / "pair.safetensors"
    second = torch.randn(3, 24)
    save_file({"clip_l": VECTORS, "clip_g": second}, path)
    handle = attach_embedding(conditioner, path)
    for each, vectors in zip(conditioner.towers, (VECTORS, second), strict=True):
        torch.testing.assert_close(each.encoder.token_embedding.weight[list(each.tokenizer.added["pair"])], vectors)
    handle.detach()


def test_the_text_ends_where_it_ends(tmp_path):
    """Ids of embeddings are the largest, so that "the largest id is the end" would find the wrong place."""
    conditioner = Conditioner(tower())
    encoder, tokenizer = conditioner.towers[0].encoder, conditioner.towers[0].tokenizer
    handle = attach_embedding(conditioner, written("a1111-pt", tmp_path))
    ids = torch.tensor([part.ids for part in chunk("style boat", tokenizer).chunks])
    end = ids[0].tolist().index(tokenizer.end)
    assert ids.argmax() < end
    features = encoder(ids)
    torch.testing.assert_close(features.pooled, features.final[:, end])
    handle.detach()


def test_what_does_not_fit_is_refused(tmp_path):
    conditioner = Conditioner(tower())
    save_file({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, tmp_path / "xl.safetensors")
    with pytest.raises(CheckpointError, match="for SDXL"):
        attach_embedding(conditioner, tmp_path / "xl.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(CheckpointError, match="without an embedding"):
        load_embedding(tmp_path / "plain.png")
    for name, picture in {
        "black": Image.new("RGB", (64, 64)),
        "bars": Image.fromarray(np.tile(np.array([9, 9, 0, 9, 9, 0, 9, 9], np.uint8)[None, :, None], (8, 1, 3))),
        "gradient": Image.linear_gradient("L"),
    }.items():
        picture.save(tmp_path / f"{name}.png")
        with pytest.raises(CheckpointError, match="without an embedding"):
            load_embedding(tmp_path / f"{name}.png")
    bomb = into_pixels({"string_to_param": "0" * 40_000_000}, Image.new("RGB", (8, 64), "red"))
    bomb.save(tmp_path / "bomb.png")
    with pytest.raises(CheckpointError, match="more than any embedding"):
        load_embedding(tmp_path / "bomb.png")
    save_file({"a": VECTORS, "b": VECTORS + 1}, tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match="expected one tensor"):
        load_embedding(tmp_path / "two.safetensors")
    path = written("a1111-pt", tmp_path)
    attach_embedding(conditioner, path)
    with pytest.raises(SettingsError, match="already"):
        attach_embedding(conditioner, path)


@pytest.fixture
def box(tmp_path, monkeypatch):
    """The model in the box, in a folder whose ``embeddings`` hold one that fits it and one that does not."""
    monkeypatch.chdir(tmp_path)
    sd = tintype.load(dtype=torch.float32)
    (tmp_path / "embeddings").mkdir()
    generator = torch.Generator().manual_seed(0)
    dim = sd.conditioner.towers[0].encoder.config.dim
    save_file({"emb_params": torch.randn(2, dim, generator=generator)}, "embeddings/Dreamy.safetensors")
    Image.new("RGB", (8, 8)).save("embeddings/Dreamy.png")  # only shows what it looks like
    save_file({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, "embeddings/wide.safetensors")
    return sd


def test_a_run_knows_the_words_of_the_folder(box):
    settings = {"seed": 1, "steps": 2}
    table = box.conditioner.towers[0].encoder.token_embedding.weight.clone()
    run = box.text2img("a red house, (dreamy:1.2)", **settings)
    assert run.notices == (f"'Dreamy' in the prompt stands for the embedding {Path('embeddings/Dreamy.safetensors')}.",)
    handle = box.embed("embeddings/Dreamy.safetensors", "word")
    by_hand = box.text2img("a red house, (word:1.2)", **settings)
    assert not by_hand.notices
    assert torch.equal(run.latents, by_hand.latents)
    handle.detach()
    assert torch.equal(box.conditioner.towers[0].encoder.token_embedding.weight, table)
    for same in ("a red house, (embedding:dreamy:1.2)", "a red house, (embedding:Dreamy.safetensors:1.2)"):  # ComfyUI's
        assert torch.equal(box.text2img(same, **settings).latents, run.latents)
    plain = box.text2img("a red house", **settings).latents
    steered = box.text2img("a red house", negative_prompt="dreamy", **settings)
    assert "Dreamy" in steered.notices[0] and not torch.equal(steered.latents, plain)


def test_settings_name_embeddings_and_repeat(box, tmp_path):
    path = tmp_path / "elsewhere.safetensors"
    save_file({"emb_params": torch.ones(1, box.conditioner.towers[0].encoder.config.dim)}, path)
    run = box.text2img("a red house, elsewhere", embeddings=[str(path)], seed=1, steps=2)
    assert run.notices == ()
    again = box.run(type(run.settings).from_dict(run.settings.to_dict()))
    assert torch.equal(again.latents, run.latents)
    unused = box.text2img("a red house", embeddings=[str(path)], seed=1, steps=2)
    assert "its word is elsewhere" in unused.notices[0]


def test_what_a_run_says_of_embeddings_that_it_cannot_use(box):
    with pytest.raises(CheckpointError, match="Close: Dreamy"):
        box.text2img("a house", embeddings=["Dreamyy"])
    with pytest.raises(CheckpointError, match="for SDXL"):
        box.text2img("a house", embeddings=["wide"])
    with pytest.raises(SettingsError, match="Two embeddings"):
        box.text2img("a house", embeddings=["Dreamy", "Dreamy"])
    with pytest.raises(SettingsError, match="names or paths"):
        box.text2img("a house", embeddings="Dreamy")
    notices = box.text2img("a wide beach").notices
    assert "taken as a word" in notices[0] and "for SDXL" in notices[0]
    assert not any("embedding" in notice for notice in box.text2img("a widely known beach").notices)


def test_where_the_world_keeps_embeddings(tmp_path, monkeypatch):
    monkeypatch.setenv("TINTYPE_EMBEDDINGS", str(tmp_path / "mine"))
    folders = embedding_folders(tmp_path / "ui/models/Stable-diffusion/model.safetensors")
    assert folders[0] == tmp_path / "mine"
    assert tmp_path / "ui/embeddings" in folders  # A1111's web UI
    assert tmp_path / "ui/models/embeddings" in folders  # ComfyUI


def test_the_command_line_has_embeddings(box):
    words = ["text2img", "a red house, dreamy", "--seed", "3", "--steps", "2", "--dtype", "float32"]
    picture = {}
    for name, more in {
        "plain": ["--embedding", "Dreamy"],
        "path": ["--embedding", "embeddings/Dreamy.safetensors"],
    }.items():
        result = CliRunner().invoke(app, [*words, *more, "-o", f"{name}.png"], catch_exceptions=False)
        assert result.exit_code == 0 and result.stderr == ""
        picture[name] = Image.open(f"{name}.png").tobytes()
    assert picture["plain"] == picture["path"]
