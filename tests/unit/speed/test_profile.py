"""A model that is made faster draws the same within rounding, and draws bit for bit the same when it is plain again."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.unit.illustrate.tiny import tiny
from tintype.adapters import save_lora
from tintype.adapters.deltas import Delta
from tintype.adapters.lora import layers_of
from tintype.checkpoints.folder import load_folder, save_folder
from tintype.errors import SettingsError
from tintype.illustrate import record
from tintype.pipeline.provenance import environment
from tintype.speed import best_profile, profile
from tintype.speed.prepack import Packed, unavailable
from tintype.speed.tile import Tiling

pytestmark = pytest.mark.skipif(unavailable(torch.float32) is not None, reason=str(unavailable(torch.float32)))
PROMPT = "a paradise cosmic beach"
SIZES = {"square": (64, 64), "wide": (104, 72), "tall": (64, 136)}


def num_packed(sd) -> int:
    networks = (sd.unet, sd.autoencoder, *(tower.encoder for tower in sd.conditioner.towers))
    return sum(isinstance(m, Packed) and m.held is not None for network in networks for m in network.modules())


def drawn(sd, **settings) -> tuple[torch.Tensor, list[bytes]]:
    run = sd.text2img(PROMPT, seed=7, **settings)
    return run.latents, [image.tobytes() for image in run.images]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_network_agrees_within_1e_5(family):
    sd, fast = tiny(family), tiny(family).speed()
    assert fast.profile == "fast" and not fast.obstacles
    x, t = torch.randn(3, 4, 7, 9), torch.tensor([1.0, 500.0, 999.0])
    plain, quick = (each.conditioner([PROMPT, "a red boat", ""]) for each in (sd, fast))
    torch.testing.assert_close(quick.context, plain.context, rtol=0, atol=1e-5)
    with torch.no_grad():
        vector = None if family != "sdxl" else torch.randn(3, sd.unet.config.vector_dim)
        cond = type(plain)(plain.context, vector)
        expected = sd.predict(x, t, cond)
        assert (fast.predict(x, t, cond) - expected).abs().max() <= 1e-5 * expected.abs().max()
        pixels = torch.rand(1, 3, 40, 72) * 2 - 1
        for way, given in (("decode", x[:1]), ("encode", pixels)):
            expected = getattr(sd, way)(given)
            assert (getattr(fast, way)(given) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert num_packed(fast) > 40


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_plain_again_is_bit_for_bit_what_it_was(size):
    sd = tiny()
    width, height = size
    settings = {"width": width, "height": height, "batch_size": 2, "guidance_interval": (0.5, 5.0)}
    before = drawn(sd, **settings)
    quick = drawn(sd.speed(), **settings)
    assert num_packed(sd) > 40
    assert torch.allclose(quick[0], before[0], rtol=0, atol=1e-3)
    assert drawn(sd, **settings)[1] == quick[1], "fast is not repeatable"
    assert sd.plain().profile == "plain" and num_packed(sd) == 0
    after = drawn(sd, **settings)
    assert torch.equal(after[0], before[0]) and after[1] == before[1]


def test_tiles(tmp_path):
    sd = tiny()
    x = torch.randn(1, 4, 24, 13)
    sd.tiling = Tiling(size=64, above=0)
    expected = sd.decode(x)
    torch.testing.assert_close(sd.speed().decode(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert num_packed(sd) > 10


@pytest.mark.parametrize(
    "options", [{}, {"guidance_scale": 1.0}, {"width": 72, "height": 104, "batch_size": 3}], ids=str
)
def test_recording_changes_no_bit(options):
    sd = tiny().speed()
    plain = drawn(sd, **options)
    run = sd.text2img(PROMPT, seed=7, **options)
    recorder = record(run)
    assert [image.tobytes() for image in run.images] == plain[1]
    assert torch.equal(run.latents, plain[0])
    recording = recorder.recording(decode=2)
    assert recording.image.tobytes() == plain[1][0]
    assert num_packed(sd) > 40, "recording made the model plain"
    assert drawn(sd, **options)[1] == plain[1]


@pytest.fixture
def lora(tmp_path):
    sd, path = tiny(), tmp_path / "ink.safetensors"
    generator = torch.Generator().manual_seed(0)
    deltas = {}
    for network, module in sd.networks.items():
        for name in layers_of(module):
            shape = module.get_submodule(name).weight.shape
            down = 0.1 * torch.randn(2, *shape[1:], generator=generator)
            up = 0.1 * torch.randn(shape[0], 2, *[1] * (len(shape) - 2), generator=generator)
            deltas[network, name] = Delta({"down": down, "up": up}, alpha=1.0)
    save_lora(path, deltas, sd.networks)
    return path


def test_a_lora_is_added_to_packed_layers(lora):
    sd = tiny()
    settings = {"loras": [(str(lora), 0.7)]}
    before, alone = drawn(sd, **settings), drawn(sd)
    quick = drawn(sd.speed(), **settings)
    assert num_packed(sd) > 40, "the adapter made the model plain"
    assert torch.allclose(quick[0], before[0], rtol=0, atol=1e-3)
    assert not torch.allclose(alone[0], before[0], rtol=0, atol=1e-2)
    sd.plain()
    assert torch.equal(drawn(sd, **settings)[0], before[0]) and torch.equal(drawn(sd)[0], alone[0])


def test_a_lora_is_merged_into_packed_layers_and_taken_out_again(lora):
    sd = tiny()
    alone = drawn(sd)
    attached = sd.attach(lora)
    attached.merge()
    merged = drawn(sd)
    attached.detach()
    drawn(sd.speed())
    attached.attach()
    attached.merge()
    quick = drawn(sd)
    assert num_packed(sd) > 40, "merging left the model plain"
    assert torch.allclose(quick[0], merged[0], rtol=0, atol=1e-3)
    attached.scale = 0.5
    attached.detach()
    assert torch.equal(drawn(sd.plain())[0], alone[0])


def test_a_saved_model_is_the_plain_one_and_the_model_stays_fast(tmp_path):
    sd = tiny().speed()
    quick = drawn(sd)
    save_folder(sd, tmp_path / "saved")
    other = load_folder(tmp_path / "saved", device=torch.device("cpu"), dtype=torch.float32)
    assert other.profile == "plain"
    original = tiny()
    for network in ("unet", "autoencoder"):
        saved = getattr(other, network).state_dict()
        assert all(torch.equal(saved[name], w) for name, w in getattr(original, network).state_dict().items())
    assert sd.profile == "fast" and torch.equal(drawn(sd)[0], quick[0])


def test_moving_keeps_the_profile_and_the_weights():
    sd = tiny()
    before = drawn(sd)
    quick = drawn(sd.speed())
    sd.to(torch.device("cpu"), torch.float32)
    assert sd.profile == "fast" and torch.equal(drawn(sd)[0], quick[0])
    assert torch.equal(drawn(sd.plain())[0], before[0])


def test_what_cannot_be_packed_stays_plain_and_says_why():
    sd = tiny().speed().to("meta")
    assert sd.profile == "plain" and num_packed(sd) == 0
    assert "'fast'" in sd.obstacles[0] and "meta" in sd.obstacles[0]
    assert best_profile(torch.device("meta"), torch.float32) == "plain"
    assert best_profile(torch.device("cpu"), torch.float32) == "fast"


def test_a_torch_without_the_operators_is_told_and_draws_all_the_same(monkeypatch):
    sd = tiny()
    before = drawn(sd)
    monkeypatch.setattr(profile, "unavailable", lambda dtype: "this torch has no such operator")
    run = sd.speed().text2img(PROMPT, seed=7)
    assert sd.profile == "plain" and environment(sd, run.settings)["speed"] == "plain"
    assert any("no such operator" in notice for notice in run.notices)
    assert torch.equal(run.latents, before[0])


def test_a_profile_that_is_none():
    with pytest.raises(SettingsError, match=r"'turbo'.*plain or fast"):
        tiny().speed("turbo")


def test_a_model_that_is_closed_gives_its_packed_weights_back():
    sd = tiny().speed()
    drawn(sd)
    sd.close()
    assert num_packed(sd) == 0 and sd.device.type == "meta"


def test_a_picture_to_start_from():
    sd = tiny()
    image = Image.linear_gradient("L").resize((72, 64)).convert("RGB")
    before = sd.img2img(image, PROMPT, seed=7, strength=0.6).latents
    assert torch.allclose(sd.speed().img2img(image, PROMPT, seed=7, strength=0.6).latents, before, rtol=0, atol=1e-3)
    assert torch.equal(sd.plain().img2img(image, PROMPT, seed=7, strength=0.6).latents, before)
