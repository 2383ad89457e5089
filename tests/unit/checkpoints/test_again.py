"""Pictures drawn again: the same bits where nothing differs, and otherwise what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.unit.pipeline.tiny import tiny_model
from tintype.adapters.deltas import Delta
from tintype.adapters.lora import layers_of, save_lora
from tintype.checkpoints.again import again
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.load import load
from tintype.errors import CheckpointError, ImageError, SettingsError
from tintype.images import pixel_hash
from tintype.layouts import hashes
from tintype.pipeline.outputs import read_record, save_image
from tintype.pipeline.provenance import parameters_of, record_of, save_picture
from tintype.speed import best_profile


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TINTYPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_known", {})


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    place = tmp_path_factory.mktemp("again") / "tiny"
    save_folder(tiny_model(), place)
    return load(place, device="cpu", dtype=torch.float32)


@pytest.fixture
def picture() -> Image.Image:
    return Image.radial_gradient("L").convert("RGB").resize((80, 64))


def saved(run, tmp_path: Path, index: int = 0, suffix: str = ".png", **changes) -> Path:
    """A picture of a run with its record, of which some values may be changed."""
    image = run.images[index]
    record = {**record_of(run, index, image), **changes}
    return save_image(image, tmp_path / f"a{suffix}", record, parameters_of(run, index))


@pytest.mark.skipif(best_profile(torch.device("cpu"), torch.float32) != "fast", reason="there is no other profile here")
def test_the_speed_profile_is_honoured(sd, tmp_path):
    place = sd.source
    fast = load(place, device="cpu", dtype=torch.float32).speed("fast")
    path, _ = save_picture(fast.text2img("a red boat", seed=7), 0, tmp_path / "fast.png")
    repeated = again(path)
    assert repeated.model.profile == "fast" and repeated.identical and repeated.differences == ()
    other = again(path, model=sd)
    assert other.differences == ("speed was fast, now plain",)
    record = read_record(path)
    del record["speed"]  # a picture from before there were profiles
    old = save_image(Image.open(path), tmp_path / "old.png", record, "")
    assert again(old).model.profile == "plain"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_text2img_comes_back_bit_by_bit(sd, tmp_path, suffix):
    run = sd.text2img("a red boat", seed=7, sampler="euler_a", negative_prompt="night", spacing="karras")
    path, notices = save_picture(run, 0, tmp_path / f"a{suffix}")
    repeated = again(path)  # the model is found by its hash
    assert notices == ()
    assert repeated.image.tobytes() == run.images[0].tobytes()
    assert (repeated.identical, repeated.differences, repeated.notices) == (True, (), ())
    assert repeated.verdict.startswith("identical")
    assert (repeated.psnr == float("inf")) == (suffix == ".png")


def test_a_repetition_can_be_repeated(sd, tmp_path):
    path, _ = save_picture(sd.text2img("a red boat", seed=7), 0, tmp_path / "a.png")
    repeated = again(path, model=sd)
    assert repeated.identical and repeated.run is not None
    path, _ = save_picture(repeated.run, repeated.index, tmp_path / "b.png")
    assert again(path, model=sd).identical


def test_img2img_and_inpaint_ask_for_their_pictures(sd, tmp_path, picture):
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (0, 0, 40, 64))
    path, _ = save_picture(sd.img2img(picture, "a boat", seed=3, strength=0.5), 0, tmp_path / "a.png")
    with pytest.raises(SettingsError, match="--image"):
        again(path)
    with pytest.raises(SettingsError, match="another one"):
        again(path, model=sd, image=mask).identical  # noqa: B018
    assert again(path, image=picture).identical
    path, _ = save_picture(sd.inpaint(picture, mask, "a boat", seed=3), 0, tmp_path / "b.png")
    with pytest.raises(SettingsError, match="--mask"):
        again(path, image=picture)
    assert again(path, image=picture, mask=mask).identical


def test_given_noise_is_asked_for(sd, tmp_path):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    run = sd.text2img("a boat", latents=latents, batch_size=2)
    path, _ = save_picture(run, 1, tmp_path / "a.png")
    with pytest.raises(SettingsError, match="latents="):
        again(path, model=sd)
    assert again(path, model=sd, latents=latents).identical


def test_pictures_of_a_batch(sd, tmp_path):
    run = sd.text2img(["a red boat", "a house " * 60], seed=7, batch_size=2, negative_prompt=["x", "y"])
    for index in range(4):
        repeated = again(saved(run, tmp_path, index), model=sd)
        alone = repeated.recalled.alone
        assert alone is not None and alone.num_images == 1 and alone.seed == 7 + index
        assert alone.negative_prompt == "xxyy"[index]
        assert repeated.identical, repeated.verdict
        assert repeated.image.tobytes() == run.images[index].tobytes()


def test_a_picture_that_is_another_one_alone_is_drawn_with_its_batch(sd, tmp_path):
    """All prompts of a batch have as many chunks as the longest, which alone the short one has not."""
    run = sd.text2img(["a red boat", "a house " * 60], seed=7)
    repeated = again(saved(run, tmp_path), model=sd)
    runs = [len(step.settings.prompts) for step in repeated.runs()]
    assert runs == [1, 2]
    assert repeated.identical
    assert any("batch" in notice for notice in repeated.notices)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("estimates", [1, 2, 3, 4])
def test_stopped_runs_stop_where_they_did(sd, tmp_path, sampler, estimates):
    run = sd.text2img("a red boat", seed=7, sampler=sampler, steps=6)
    done = 0

    def stopping(denoise):
        def counted(x, sigma):
            nonlocal done
            denoised = denoise(x, sigma)
            done += 1
            if done == estimates:
                run.stop()
            return denoised

        return counted

    path, _ = save_picture(run.wrap(stopping), 0, tmp_path / "a.png")
    record = read_record(path)
    assert record is not None and record["estimates"] == estimates
    repeated = again(path, model=sd)
    assert repeated.identical and not repeated.stopped
    assert repeated.run is not None and repeated.run.steps_done == record["stopped_after"]


def test_one_that_is_cut_short_now_says_so(sd, tmp_path):
    path, _ = save_picture(sd.text2img("a red boat", seed=7, steps=6), 0, tmp_path / "a.png")
    repeated = again(path, model=sd)
    for run in repeated.runs():
        for step in run:
            if step.index == 2:
                run.stop()
    assert repeated.stopped
    assert not repeated.identical


def test_what_differs_is_said(sd, tmp_path):
    run = sd.text2img("a red boat", seed=7)
    path = saved(
        run, tmp_path, torch="1.0", threads=99, machine="abacus", model_sha256="0" * 64, pixels_sha256="0" * 64
    )
    repeated = again(path, model=sd)
    assert repeated.identical is False
    for name in ("torch was 1.0", "threads was 99", "machine was abacus", "model was tiny (0000000000)"):
        assert name in repeated.verdict
    again_same = again(saved(run, tmp_path, pixels_sha256="0" * 64), model=sd)
    assert "nothing that is recorded differs" in again_same.verdict
    assert any("changed since" in notice for notice in again_same.notices)


def test_another_precision_is_told_with_its_distance(sd, tmp_path):
    path, _ = save_picture(sd.text2img("a red boat", seed=7), 0, tmp_path / "a.png")
    repeated = again(path, model=load(sd.source, device="cpu", dtype=torch.bfloat16))
    assert repeated.identical is False
    assert repeated.psnr is not None and 15 < repeated.psnr < 90
    assert "dtype was float32, now bfloat16" in repeated.verdict and "dB" in repeated.verdict


def test_an_unknown_model_is_asked_for(sd, tmp_path):
    path = saved(sd.text2img("a red boat", seed=7), tmp_path, model_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="--model"):
        again(path)
    path = saved(sd.text2img("a red boat", seed=7), tmp_path, vae_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="--vae"):
        again(path)


def test_a_model_from_memory_has_no_hash_and_still_repeats(tmp_path):
    model = tiny_model()
    path, _ = save_picture(model.text2img("a red boat", seed=7), 0, tmp_path / "a.png")
    assert read_record(path)["model_sha256"] is None
    assert again(path, model=model).identical
    with pytest.raises(CheckpointError, match="not known on this machine"):
        again(path)


def test_how_the_model_was_loaded_is_kept(sd, tmp_path):
    other = load(sd.source, device="cpu", dtype=torch.float32, prediction="v", vae=Path(sd.source) / "vae")
    path, _ = save_picture(other.text2img("a red boat", seed=7), 0, tmp_path / "a.png")
    record = read_record(path)
    assert record["load"] == {"prediction": "v"} and len(record["vae_sha256"]) == 64
    assert again(path).identical
    assert "loaded with" in again(path, model=sd).verdict


def text_alone(path: Path, text: str, image: Image.Image) -> Path:
    info = PngInfo()
    info.add_text("parameters", text)
    image.save(path, pnginfo=info)
    return path


def test_the_web_uis_text_alone_repeats_what_it_tells(sd, tmp_path):
    run = sd.text2img("a red boat", seed=7, sampler="euler", spacing="karras", negative_prompt="night", steps=5)
    path = text_alone(tmp_path / "a.png", parameters_of(run, 0), run.images[0])
    repeated = again(path, dtype=sd.dtype)  # a text is silent on precision
    assert repeated.recalled.record is None
    assert repeated.identical, repeated.verdict
    assert pixel_hash(repeated.image) == pixel_hash(run.images[0])


def test_without_rng_the_noise_is_a_gpus(sd, tmp_path):
    run = sd.text2img("a red boat", seed=7, sampler="euler", spacing="linspace", noise="philox")
    text = parameters_of(run, 0)
    assert "RNG: NV" in text
    for told in (text, text.replace("RNG: NV, ", ""), text.replace("NV", "GPU")):
        assert again(text_alone(tmp_path / "a.png", told, run.images[0]), model=sd).identical
    assert not again(text_alone(tmp_path / "a.png", text.replace("NV", "CPU"), run.images[0]), model=sd).identical


def test_what_a_text_asks_for_beyond_is_noticed(sd, tmp_path):
    text = (
        "a red boat <lora:fog:0.7>\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Model hash: "
        "31e35c80fc, Model: other, Hires upscale: 2, Denoising strength: 0.4, ENSD: 31337"
    )
    path = text_alone(tmp_path / "a.png", text, Image.new("RGB", (128, 128)))
    with pytest.raises(CheckpointError, match="31e35c80fc"):
        again(path)
    repeated = again(path, model=sd)
    assert repeated.psnr is None and "another size" in repeated.verdict
    told = " ".join(repeated.notices)
    for what in ("Hires fix", "ENSD", "LoRA 'fog' is not here", "fresh noise", "model was other"):
        assert what in told


def test_an_img2img_text_asks_for_its_picture(sd, tmp_path, picture):
    text = "a boat\nSteps: 8, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 80x64, Denoising strength: 0.5"
    path = text_alone(tmp_path / "a.png", text, picture)
    with pytest.raises(SettingsError, match="--image"):
        again(path, model=sd)
    assert again(path, model=sd, image=picture).image.size == (80, 64)


def test_a_picture_of_nobody(tmp_path, picture):
    picture.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="does not say"):
        again(tmp_path / "a.png")


def test_records_are_json(sd):
    run = sd.text2img("a red boat", seed=7)
    record = record_of(run, 0, run.images[0])
    assert json.loads(json.dumps(record)) == record
    assert len(record["model_sha256"]) == 64


@pytest.mark.parametrize("by", ["tag", "field"])
def test_loras_come_along(sd, tmp_path, monkeypatch, by):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loras").mkdir()
    file = tmp_path / "loras" / "fog.safetensors"
    write_lora(sd, file, seed=1)
    asked = {"prompt": "a boat <lora:fog:0.8>"} if by == "tag" else {"prompt": "a boat", "loras": [("fog", 0.8)]}
    run = sd.text2img(**asked, seed=7)
    path, _ = save_picture(run, 0, tmp_path / "a.png")
    assert parameters_of(run, 0).startswith("a boat <lora:fog:0.8>\n")
    assert f'Lora hashes: "fog: {hashes.data_sha256(file)[:12]}"' in parameters_of(run, 0)
    assert run.images[0].tobytes() != sd.text2img("a boat", seed=7).images[0].tobytes()
    assert again(path, model=sd).identical
    write_lora(sd, file, seed=2)
    assert "the LoRA fog is another file" in again(path, model=sd).verdict
    file.unlink()
    with pytest.raises(CheckpointError, match="fog"):
        again(path, model=sd).identical  # noqa: B018


def write_lora(sd, path: Path, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    name = next(name for name in layers_of(sd.unet) if name.endswith("to_v"))
    width = sd.unet.get_submodule(name).weight.shape
    factors = {"down": torch.randn(2, width[1], generator=draw), "up": torch.randn(width[0], 2, generator=draw)}
    save_lora(path, {("unet", name): Delta(factors, 2.0)}, sd.networks)
