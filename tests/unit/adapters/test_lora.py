"""LoRA on a model: on, off, scaled, stacked, merged, for one run alone; and what does not fit, by name."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tintype
from tintype.adapters import attach, load_lora, save_lora
from tintype.adapters.deltas import Delta
from tintype.adapters.lora import layers_of
from tintype.errors import CheckpointError, SettingsError
from tintype.models import TextEncoder, TextEncoderConfig, UNet, UNetConfig
from tintype.text.tags import split_loras
from tintype.types import Conditioning

CONFIG = UNetConfig(
    channels=(16, 32), layers_per_block=1, transformer_depth=(0, 1), num_heads=(2, 2), context_dim=16, norm_groups=8
)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    text = TextEncoderConfig(vocab_size=20, length=8, dim=16, num_layers=2, num_heads=2, mlp_dim=32, end_id=19)
    return {"unet": UNet(CONFIG), "text_encoder": TextEncoder(text)}


def random_deltas(networks, seed, rank=2):
    generator = torch.Generator().manual_seed(seed)
    deltas = {}
    for network, module in networks.items():
        for name in layers_of(module):
            weight = module.get_submodule(name).weight
            down = 0.1 * torch.randn(rank, *weight.shape[1:], generator=generator)
            up = 0.1 * torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
            deltas[network, name] = Delta({"down": down, "up": up}, alpha=1.0)
    return deltas


@pytest.fixture
def lora(networks, tmp_path):
    def make(seed=1, style="kohya"):
        path = tmp_path / f"lora-{seed}-{style}.safetensors"
        save_lora(path, random_deltas(networks, seed), networks, style=style)
        return load_lora(path)

    return make


def out(networks):
    x = torch.linspace(-1, 1, 2 * 4 * 8 * 8).reshape(2, 4, 8, 8)
    ids = torch.tensor([[1, 2, 3, 19], [4, 5, 19, 19]])
    with torch.no_grad():
        context = networks["text_encoder"](ids).final
        return networks["unet"](x.to(context.dtype), torch.tensor([10.0, 500.0]), Conditioning(context))


def close(a, b, tolerance=1e-5):
    return ((a - b).abs().max() / b.std()).item() <= tolerance


@pytest.mark.parametrize("style", ["kohya", "peft"])
def test_every_layer_is_found_and_let_go(networks, lora, style):
    before = out(networks)
    attached = attach(networks, lora(style=style))
    total = sum(len(layers_of(module)) for module in networks.values())
    assert sum(attached.report.matched.values()) == total and not attached.report.unmatched
    assert not close(out(networks), before, 1e-2)
    attached.scale = 0.0
    assert torch.equal(out(networks), before)
    attached.scale = 1.0
    attached.detach()
    assert torch.equal(out(networks), before)
    assert all("forward" not in vars(module) for net in networks.values() for module in net.modules())


def test_both_styles_mean_the_same(networks, lora):
    results = []
    for style in ("kohya", "peft"):
        attached = attach(networks, lora(style=style), 0.5)
        results.append(out(networks))
        attached.detach()
    assert close(*results)


def test_a_stack_comes_off_in_any_order(networks, lora):
    before = out(networks)
    loras = [lora(seed) for seed in range(4)]
    for seed in range(5):
        rng = random.Random(seed)
        stack = [attach(networks, each, 0.3) for each in loras]
        for each in rng.sample(stack, 4):
            if rng.random() < 0.5:
                each.merge()
        alone = rng.choice(stack)
        for each in rng.sample(stack, 4):
            if each is not alone:
                each.detach()
        left = out(networks)
        alone.detach()
        assert torch.equal(out(networks), before)
        only = attach(networks, alone.lora, 0.3)
        assert close(left, out(networks), 1e-4)
        only.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_is_attached(networks, lora, dtype):
    for network in networks.values():
        network.to(dtype)
    before = out(networks)
    attached = attach(networks, lora(), 0.8)
    loose = out(networks)
    attached.merge()
    assert all("forward" not in vars(module) for net in networks.values() for module in net.modules())
    assert close(out(networks).float(), loose.float(), 1e-4 if dtype == torch.float32 else 0.2)
    attached.scale = 0.4
    half = out(networks)
    attached.detach()
    assert torch.equal(out(networks), before)
    again = attach(networks, lora(), 0.4)
    assert close(half.float(), out(networks).float(), 1e-4 if dtype == torch.float32 else 0.2)
    again.detach()


def test_what_does_not_fit_is_named(networks, lora, tmp_path):
    wide = {"unet": UNet(UNetConfig(**vars(CONFIG) | {"context_dim": 2048})), "text_encoder": networks["text_encoder"]}
    save_lora(tmp_path / "xl.safetensors", random_deltas(wide, 0), wide)
    with pytest.raises(CheckpointError, match="made for SDXL"):
        attach(networks, load_lora(tmp_path / "xl.safetensors"))
    save_file(
        {
            "lora_unet_elsewhere.lora_up.weight": torch.zeros(2, 2),
            "lora_unet_elsewhere.lora_down.weight": torch.zeros(2, 2),
        },
        tmp_path / "none.safetensors",
    )
    with pytest.raises(CheckpointError, match="no layer is called lora_unet_elsewhere"):
        attach(networks, load_lora(tmp_path / "none.safetensors"))
    before = out(networks)
    assert torch.equal(out(networks), before)  # nothing was left half attached


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.weight"], "is no LoRA"),
        (["lora_unet_a.lora_up.weight"], "damaged"),
        (["lora_unet_a.hada_w1_a", "lora_unet_a.hada_w1_b"], "damaged"),
        (["lora_unet_a.lokr_w1", "lora_unet_a.lokr_w2_a"], "damaged"),
        (["lora_unet_a.lora_up.weight", "lora_unet_a.lora_down.weight", "lora_unet_a.dora_scale"], "DoRA"),
    ],
)
def test_files_that_are_none(tmp_path, names, expected):
    save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "file.safetensors")
    with pytest.raises(CheckpointError, match=expected):
        load_lora(tmp_path / "file.safetensors")


def test_unused_tensors_are_told(networks, tmp_path):
    save_lora(tmp_path / "a.safetensors", random_deltas(networks, 0), networks)
    more = {"some.note": torch.zeros(1, 16)}
    save_file(load_file(tmp_path / "a.safetensors") | more, tmp_path / "b.safetensors")
    report = attach(networks, load_lora(tmp_path / "b.safetensors")).report
    assert report.unmatched == tuple(more) and "1 not matched" in str(report)


def test_the_projection_of_sdxls_second_tower(networks, tmp_path):
    """``lora_te2_text_projection``, and PEFT's name of it, change the pooled feature and nothing else."""
    text = replace(networks["text_encoder"].config, projection_dim=16)
    networks = networks | {"text_encoder_2": TextEncoder(text)}
    tower, ids = networks["text_encoder_2"], torch.tensor([[1, 2, 3, 19]])
    up, down = torch.randn(16, 2), torch.randn(2, 16)
    with torch.no_grad():
        before = tower(ids)
        weight = tower.projection.weight + 0.5 * up @ down
        end = before.final[:, 3]
    for names in (
        ("lora_te2_text_projection.lora_up", "lora_te2_text_projection.lora_down"),
        ("text_encoder_2.text_projection.lora_B", "text_encoder_2.text_projection.lora_A"),
    ):
        save_file({f"{name}.weight": t for name, t in zip(names, (up, down), strict=True)}, tmp_path / "p.safetensors")
        attached = attach(networks, load_lora(tmp_path / "p.safetensors"), 0.5)
        assert attached.report.matched == {"text_encoder_2": 1}
        with torch.no_grad():
            after = tower(ids)
        torch.testing.assert_close(after.pooled, end @ weight.T, atol=1e-4, rtol=1e-4)
        assert torch.equal(after.final, before.final)
        attached.detach()


def test_tags():
    assert split_loras("a <lora:style:0.8> cat <lora:Other One>") == ("a  cat ", (("style", 0.8), ("Other One", 1.0)))
    assert split_loras("a < b > c") == ("a < b > c", ())
    for tag in ("<lora:>", "<lora:a:b>", "<lora:a:0.5:0.5>", "<lora:a:nan>"):
        with pytest.raises(SettingsError, match="not understood"):
            split_loras(f"a {tag}")


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    sd = tintype.load(dtype=torch.float32)
    folder = tmp_path_factory.mktemp("loras")
    save_lora(folder / "style.safetensors", random_deltas(sd.networks, 5), sd.networks)
    return sd, folder


def test_a_run_has_its_own(box, monkeypatch):
    sd, folder = box
    monkeypatch.setenv("TINTYPE_LORAS", str(folder))
    settings = {"seed": 3, "steps": 3}
    plain = sd.text2img("a red house", **settings).latents
    by_tag = sd.text2img("a red house<lora:style:0.5>", **settings)
    by_name = sd.text2img("a red house", loras=[("style", 0.5)], **settings)
    by_path = sd.text2img("a red house", loras=[(str(folder / "style.safetensors"), 0.5)], **settings)
    steps = zip(by_tag, sd.text2img("a red house", **settings), strict=True)  # two runs in turn on one model
    interleaved = [other.x_next for _, other in steps][-1]
    assert not torch.equal(by_tag.latents, plain)
    assert torch.equal(by_tag.latents, by_name.latents) and torch.equal(by_tag.latents, by_path.latents)
    assert torch.equal(interleaved, [s.x_next for s in sd.text2img("a red house", **settings)][-1])
    assert torch.equal(sd.text2img("a red house", **settings).latents, plain)
    assert by_tag.settings.prompt == "a red house<lora:style:0.5>"

    attached = sd.attach("style", 0.5)
    assert torch.equal(sd.text2img("a red house", **settings).latents, by_tag.latents)
    attached.detach()
    assert torch.equal(sd.text2img("a red house", **settings).latents, plain)


def test_words_that_come_with_a_lora(box, tmp_path):
    """``bundle_emb.``: the run that asks for the LoRA knows the word, and no other run does."""
    sd, folder = box
    width = sd.conditioner.towers[0].encoder.config.dim
    words = {"bundle_emb.zorb.string_to_param.*": torch.randn(2, width)}
    save_file(load_file(folder / "style.safetensors") | words, tmp_path / "bundle.safetensors")
    settings = {"seed": 3, "steps": 2}
    alone = sd.text2img("a red house zorb", loras=[(str(folder / "style.safetensors"), 0.5)], **settings)
    run = sd.text2img("a red house zorb", loras=[(str(tmp_path / "bundle.safetensors"), 0.5)], **settings)
    assert any("zorb" in notice for notice in alone.notices) and run.notices == ()
    assert not torch.equal(run.latents, alone.latents)
    assert "zorb" not in sd.conditioner.towers[0].tokenizer.added
    wrong = {"bundle_emb.zorb.clip_l": torch.randn(2, 768), "bundle_emb.zorb.clip_g": torch.randn(2, 1280)}
    save_file(load_file(folder / "style.safetensors") | wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match="embedding for SDXL"):
        sd.text2img("a red house zorb", loras=[(str(tmp_path / "wrong.safetensors"), 0.5)], **settings)


def test_names_that_are_not_there(box, monkeypatch):
    sd, folder = box
    monkeypatch.setenv("TINTYPE_LORAS", str(folder))
    with pytest.raises(CheckpointError, match="Close: style"):
        sd.text2img("a cat <lora:stile>")
    with pytest.raises(SettingsError, match="different LoRAs"):
        sd.text2img(["a <lora:style>", "b"])


def test_the_command_line(box, tmp_path):
    from typer.testing import CliRunner

    from tintype.cli import app

    _, folder = box
    words = ["text2img", "a red house", "--seed", "3", "--steps", "2", "--dtype", "float32"]
    for name, more in {"plain": [], "with": ["--lora", f"{folder / 'style.safetensors'}:0.5"]}.items():
        result = CliRunner().invoke(app, [*words, *more, "-o", str(tmp_path / f"{name}.png")], catch_exceptions=False)
        assert result.exit_code == 0
    from PIL import Image

    plain, styled = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "with"))
    assert not np.array_equal(plain, styled)
