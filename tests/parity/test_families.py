"""Each family as a whole: a tiny pipeline of diffusers, saved by it, read by us, draws the same latents.

The topology is the family's own, the widths are small and the weights random. Latents are compared before decoding;
the networks themselves are compared in test_networks.py.
"""

from __future__ import annotations

import json

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from tintype.checkpoints.folder import load_folder, save_folder
from tintype.errors import CheckpointError
from tintype.images import to_tensor
from tintype.text.tokenizer import Tokenizer

CAPTIONS = ["a pirate ship at night", "paradise cosmic beach", "a red house by the sea, watercolour"] * 4
PROMPT, NEGATIVE = "a pirate ship by the sea", "a red house"
TOLERANCE = 1e-4  # of the latents' standard deviation

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
LEVELS = {
    "SD": {
        "block_out_channels": (32, 64, 64, 64),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    },
    "SDXL": {
        "block_out_channels": (32, 64, 64),
        "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        "transformer_layers_per_block": (1, 2, 3),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 6 * 256 + 48,
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
    },
}


def tokenizer(folder, pad=None):
    ours = Tokenizer.train(CAPTIONS)
    ours.save(folder)
    return transformers.CLIPTokenizer.from_pretrained(folder, **({"pad_token": pad} if pad else {}))


def text_encoder(words, *, dim, layers, act, projection=None):
    config = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=layers,
        num_attention_heads=4,
        hidden_act=act,
        projection_dim=projection or dim,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config)


def autoencoder(**changes):
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **changes,
    )


def unet(kind, context, **changes):
    config = {"norm_num_groups": 8, "cross_attention_dim": context, "attention_head_dim": 8, "sample_size": 16}
    return diffusers.UNet2DConditionModel(**config | LEVELS[kind] | changes)


def sd_pipeline(folder, pipeline, scheduler, *, pad=None, act="quick_gelu", **changes):
    words = tokenizer(folder / "words", pad)
    return pipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(words, dim=32, layers=3, act=act),
        tokenizer=words,
        unet=unet("SD", 32, **changes),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl_pipeline(folder, pipeline, scheduler, **changes):
    words, padded = tokenizer(folder / "words"), tokenizer(folder / "words_2", "!")
    return pipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True),
        text_encoder=text_encoder(words, dim=32, layers=3, act="quick_gelu"),
        text_encoder_2=text_encoder(padded, dim=48, layers=4, act="gelu", projection=48),
        tokenizer=words,
        tokenizer_2=padded,
        unet=unet("SDXL", 80, **changes),
        scheduler=scheduler,
        force_zeros_for_empty_prompt=True,
    )


def make(family, folder):
    torch.manual_seed(0)
    if family == "SD 1":
        pipeline = sd_pipeline(
            folder,
            diffusers.StableDiffusionPipeline,
            diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False),
        )
    elif family == "SD 2":
        pipeline = sd_pipeline(
            folder,
            diffusers.StableDiffusionPipeline,
            diffusers.DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False),
            pad="!",
            act="gelu",
            attention_head_dim=(2, 4, 4, 4),
            use_linear_projection=True,
        )
    elif family == "SD 2, zero terminal SNR":
        pipeline = sd_pipeline(
            folder,
            diffusers.StableDiffusionPipeline,
            diffusers.DDIMScheduler(
                **BETAS,
                prediction_type="v_prediction",
                clip_sample=False,
                set_alpha_to_one=False,
                timestep_spacing="trailing",
                rescale_betas_zero_snr=True,
            ),
            pad="!",
            act="gelu",
            attention_head_dim=(2, 4, 4, 4),
            use_linear_projection=True,
        )
    elif family == "SD 2, zero terminal SNR, Euler":
        pipeline = sd_pipeline(
            folder,
            diffusers.StableDiffusionPipeline,
            diffusers.EulerDiscreteScheduler(
                **BETAS, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
            ),
            pad="!",
            act="gelu",
            attention_head_dim=(2, 4, 4, 4),
            use_linear_projection=True,
        )
    elif family == "inpainting":
        pipeline = sd_pipeline(
            folder,
            diffusers.StableDiffusionInpaintPipeline,
            diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False),
            in_channels=9,
        )
    elif family == "SDXL":
        pipeline = xl_pipeline(
            folder,
            diffusers.StableDiffusionXLPipeline,
            diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        )
    elif family == "SDXL inpainting":
        pipeline = xl_pipeline(
            folder,
            diffusers.StableDiffusionXLInpaintPipeline,
            diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
            in_channels=9,
        )
    else:
        raise AssertionError(family)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder / "model")
    return pipeline


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(diffusers' pipeline, our model, its folder) of a family, made once."""
    made = {}

    def model(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family.replace(" ", "-"))
            made[family] = (make(family, folder), load_folder(folder / "model"), folder / "model")
        return made[family]

    return model


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.std()).item()


def noise(height=64, width=64):
    return torch.randn(1, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("negative", [None, NEGATIVE])
@pytest.mark.parametrize(
    "family", ["SD 1", "SD 2", "SD 2, zero terminal SNR", "SD 2, zero terminal SNR, Euler", "SDXL"]
)
def test_latents(models, family, negative):
    pipeline, sd, _ = models(family)
    theirs = pipeline(
        PROMPT,
        negative_prompt=negative,
        height=64,
        width=64,
        num_inference_steps=10,
        guidance_scale=5.0,
        latents=noise(),
        output_type="latent",
    ).images
    run = sd.text2img(
        PROMPT, negative_prompt=negative, height=64, width=64, steps=10, guidance_scale=5.0, latents=noise()
    )
    found = difference(run.latents, theirs)
    print(f"{family}: {found:.1e}")
    # The last alpha under zero terminal SNR is 2^-24 to us and to diffusers' Euler; its DDIM has 0 there, where x0 is
    # not defined by v alone.
    assert found <= (1e-3 if family == "SD 2, zero terminal SNR" else TOLERANCE)


def test_sizes_are_told_to_sdxl(models):
    pipeline, sd, _ = models("SDXL")
    theirs = pipeline(
        PROMPT,
        height=64,
        width=96,
        num_inference_steps=4,
        guidance_scale=5.0,
        latents=noise(64, 96),
        original_size=(300, 200),
        crops_coords_top_left=(10, 20),
        target_size=(256, 320),
        output_type="latent",
    ).images
    settings = {"height": 64, "width": 96, "steps": 4, "guidance_scale": 5.0, "latents": noise(64, 96)}
    told = sd.text2img(PROMPT, **settings, original_size=(300, 200), crop=(10, 20), target_size=(256, 320)).latents
    assert difference(told, theirs) <= TOLERANCE
    assert difference(sd.text2img(PROMPT, **settings).latents, theirs) > 10 * TOLERANCE


def test_no_negative_prompt_is_not_the_empty_one_to_sdxl(models):
    _, sd, _ = models("SDXL")
    settings = {"height": 64, "width": 64, "steps": 2, "guidance_scale": 5.0, "latents": noise()}
    none, empty = (sd.text2img(PROMPT, negative_prompt=text, **settings).latents for text in (None, ""))
    assert difference(none, empty) > 1e-3


@pytest.mark.parametrize("family", ["inpainting", "SDXL inpainting"])
def test_native_inpainting(models, family):
    """The masked picture's latents are drawn by them and the mean by us, so theirs is made to take the mean."""
    pipeline, sd, _ = models(family)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 8, 48, 40))
    pipeline.vae.encode = as_means(pipeline.vae.encode)
    theirs = pipeline(
        PROMPT,
        image=picture,
        mask_image=mask,
        height=64,
        width=64,
        strength=1.0,
        num_inference_steps=6,
        guidance_scale=5.0,
        latents=noise(),
        output_type="latent",
    ).images
    run = sd.inpaint(picture, mask, PROMPT, steps=6, guidance_scale=5.0, latents=noise())
    found = difference(run.latents, theirs)
    print(f"{family}: {found:.1e}")
    assert found <= TOLERANCE
    kept = np.asarray(run.images[0]), np.asarray(picture)
    assert np.array_equal(kept[0][45:], kept[1][45:])  # what is not masked keeps its pixels


def as_means(encode):
    def encoded(*args, **kwargs):
        output = encode(*args, **kwargs)
        output.latent_dist.sample = lambda generator=None: output.latent_dist.mean
        return output

    return encoded


def test_an_inpainting_model_draws_from_words_alone(models):
    _, sd, _ = models("inpainting")
    assert torch.isfinite(sd.text2img(PROMPT, width=64, height=64, steps=2).latents).all()
    picture = Image.new("RGB", (64, 64), "red")
    assert torch.isfinite(sd.img2img(picture, PROMPT, steps=4, strength=0.5).latents).all()


def test_guidance_embedding():
    """An LCM's UNet is told the guidance scale; compared with diffusers' embedding and UNet."""
    torch.manual_seed(0)
    reference = unet("SD", 32, time_cond_proj_dim=64).eval()
    words = torch.randn(2, 7, 32)
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([500.0, 20.0])
    embed = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding
    told = embed(None, torch.tensor([7.5, 2.0]) - 1, embedding_dim=64)
    with torch.no_grad():
        theirs = reference(x, t, words, timestep_cond=told).sample

    from tintype.checkpoints import configs
    from tintype.layouts import diffusers as layouts
    from tintype.models import UNet
    from tintype.types import Conditioning

    config = configs.read_unet(json.loads(reference.to_json_string()))
    assert config.guidance_dim == 64
    ours = UNet(config)
    ours.load_state_dict(layouts.UNET.to_ours(reference.state_dict()))
    with torch.no_grad():
        found = ours(x, t, Conditioning(words, guidance=torch.tensor([7.5, 2.0])))
        other = ours(x, t, Conditioning(words, guidance=torch.tensor([1.0, 1.0])))
    assert difference(found, theirs) <= TOLERANCE
    assert difference(other, theirs) > 10 * TOLERANCE


@pytest.mark.parametrize("family", ["SD 1", "SD 2", "SDXL", "inpainting", "SDXL inpainting"])
def test_folders_return(models, family, tmp_path):
    """What we save is, file for file of weights, what diffusers saved; and diffusers reads it."""
    from safetensors.torch import load_file

    _, sd, folder = models(family)
    save_folder(sd, tmp_path / "again")
    for file in sorted(folder.rglob("*.safetensors")):
        # transformers 5.6 leaves the wrapper out that it had before, and that we write for those who still expect it.
        before, after = (
            {name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
            for path in (file, tmp_path / "again" / file.relative_to(folder))
        )
        assert before.keys() == after.keys(), file
        assert all(torch.equal(before[name], after[name]) for name in before), file
    again = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "again")
    assert type(again).__name__ == json.loads((folder / "model_index.json").read_text())["_class_name"]


def test_the_autoencoder_of_sdxl_stays_fp32_in_fp16(models):
    _, _, folder = models("SDXL")
    sd = load_folder(folder, dtype=torch.float16)
    assert sd.dtype == torch.float16 and sd.autoencoder.quant_conv.weight.dtype == torch.float32
    assert sd.to(dtype=torch.bfloat16).autoencoder.quant_conv.weight.dtype == torch.bfloat16
    assert sd.to(dtype=torch.float16).autoencoder.quant_conv.weight.dtype == torch.float32
    pixels = sd.decode(sd.encode(to_tensor(Image.new("RGB", (64, 64), "teal"))))
    assert pixels.shape == (1, 3, 64, 64)


def test_a_refiners_unet_is_named(tmp_path):
    """By its configuration as published, whatever its index says it has."""
    from tintype.checkpoints import configs
    from tintype.checkpoints.families import family_of, name_of

    published = {
        "_class_name": "UNet2DConditionModel",
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "attention_head_dim": [6, 12, 24, 24],
        "block_out_channels": [384, 768, 1536, 1536],
        "cross_attention_dim": 1280,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "projection_class_embeddings_input_dim": 2560,
        "transformer_layers_per_block": 4,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": True,
    }
    config = configs.read_unet(published)
    assert name_of(config) == "an SDXL refiner"
    with pytest.raises(CheckpointError, match="refiner"):
        family_of(config)


def test_the_refiner_is_named(models, tmp_path):
    import shutil

    _, _, folder = models("SDXL")
    shutil.copytree(folder, tmp_path / "refiner")
    index = tmp_path / "refiner" / "model_index.json"
    content = json.loads(index.read_text()) | {"text_encoder": [None, None], "tokenizer": [None, None]}
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="refiner"):
        load_folder(tmp_path / "refiner")
