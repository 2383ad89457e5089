"""LoRA files in the world's names, against diffusers with PEFT: the same outputs of UNet and text encoder."""

from __future__ import annotations

import peft
import pytest
import torch
from safetensors.torch import save_file

from tests.parity.test_families import difference, make
from tintype.adapters import attach, load_lora
from tintype.checkpoints.folder import load_folder
from tintype.layouts import ldm
from tintype.types import Conditioning

RANK = 4


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    made = {}

    def pipeline(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("lora")
            made[family] = (make(family, folder), load_folder(folder / "model"))
        return made[family]

    return pipeline


def targets(network, *, convolutions):
    """The layers of diffusers' network that get a LoRA: attention and feed-forward, and convolutions for LoCon."""
    for name, module in network.named_modules():
        linear, convolution = isinstance(module, torch.nn.Linear), isinstance(module, torch.nn.Conv2d)
        in_attention = ".attentions." in name or (linear and ".layers." in name)
        in_resnet = convolutions and convolution and ".resnets." in name and "conv" in name
        if (linear or convolution) and (in_attention or in_resnet):
            yield name, module


def factors(module, generator):
    def draw(*shape):
        return 0.1 * torch.randn(shape, generator=generator)

    if isinstance(module, torch.nn.Linear):
        return draw(RANK, module.in_features), draw(module.out_features, RANK)
    return draw(RANK, module.in_channels, *module.kernel_size), draw(module.out_channels, RANK, 1, 1)


def make_file(pipeline, path, style, *, convolutions=False):
    generator = torch.Generator().manual_seed(0)
    two = hasattr(pipeline, "text_encoder_2")
    networks = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    if two:
        networks["text_encoder_2"] = pipeline.text_encoder_2
    c = pipeline.unet.config
    tensors = {}
    for network, module in networks.items():
        for name, layer in targets(module, convolutions=convolutions):
            down, up = factors(layer, generator)
            written = name
            if network != "unet" and not name.startswith("text_model."):  # files were made before transformers 5.6
                written = f"text_model.{name}"
            if style == "peft":
                tensors |= {f"{network}.{written}.lora_A.weight": down, f"{network}.{written}.lora_B.weight": up}
            elif style == "old diffusers" and network == "unet":
                attention, _, kind = written.removesuffix(".0").rpartition(".")
                if not attention.endswith(("attn1", "attn2")):
                    continue  # that was all they could name
                key = f"unet.{attention}.processor.{kind}_lora"
                tensors |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
            elif style == "old diffusers":
                key = f"{network}.{written}.lora_linear_layer"
                tensors |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
            else:
                prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_" if two else "lora_te_"}
                if style == "kohya, LDM" and network == "unet":
                    written = ldm_name(written, c)
                key = prefix.get(network, "lora_te2_") + written.replace(".", "_")
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
                tensors[f"{key}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)
    return len(tensors) // (2 if style in ("peft", "old diffusers") else 3)


def ldm_name(name, c):
    """By our two tables, which are compared with diffusers' own conversion in test_single_file.py."""
    from tintype.layouts import diffusers as layouts

    depths = c.transformer_layers_per_block
    depth = tuple(
        0 if "CrossAttn" not in kind else depths if isinstance(depths, int) else depths[i]
        for i, kind in enumerate(c.down_block_types)
    )
    table = ldm.unet_layout(depth, 2, depths if isinstance(depths, int) else depths[-1], linear=True)
    empty = torch.empty(1, device="meta")
    (ours,) = layouts.UNET_LINEAR.to_ours({f"{name}.weight": empty})
    return table.their_name(ours).removeprefix(table.prefix).removesuffix(".weight")


def outputs(pipeline, sd):
    """(theirs, ours) of the UNet and of the first text encoder."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 16, 16, generator=generator)
    width = pipeline.unet.config.cross_attention_dim
    words = torch.randn(2, 7, width, generator=generator)
    t = torch.tensor([500.0, 20.0])
    vector, told = None, None
    if sd.unet.config.vector_dim:
        vector = torch.randn(2, sd.unet.config.vector_dim, generator=generator)
        from diffusers.models.embeddings import Timesteps

        ids = torch.arange(12.0).reshape(2, 6)
        waves = Timesteps(256, True, 0)(ids.flatten()).reshape(2, -1)
        vector = torch.cat([vector[:, :-1536], waves], dim=1)
        told = {"text_embeds": vector[:, :-1536], "time_ids": ids}
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        theirs = pipeline.unet(x, t, words, added_cond_kwargs=told).sample
        ours = sd.unet(x, t, Conditioning(words, vector))
        text = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states[-1]
        mine = sd.conditioner.towers[0].encoder(ids).hidden[-1]
    return (theirs, ours), (text, mine)


CASES = [
    ("SD 1", "kohya", False),
    ("SD 1", "kohya", True),
    ("SD 1", "kohya, LDM", False),
    ("SD 1", "peft", False),
    ("SD 1", "old diffusers", False),
    ("SD 2", "kohya", False),
    ("SDXL", "kohya, LDM", False),
    ("SDXL", "kohya, LDM", True),
    ("SDXL", "peft", False),
]


@pytest.mark.parametrize(("family", "style", "convolutions"), CASES)
def test_equal_to_diffusers(pipelines, tmp_path, family, style, convolutions):
    pipeline, sd = pipelines(family)
    number = make_file(pipeline, tmp_path / "a.safetensors", style, convolutions=convolutions)
    before = outputs(pipeline, sd)
    attached = attach(sd.networks, load_lora(tmp_path / "a.safetensors"), 0.7)
    assert sum(attached.report.matched.values()) == number and not attached.report.unmatched
    if style == "kohya, LDM" and family != "SDXL":  # diffusers reads these block names for SDXL alone
        make_file(pipeline, tmp_path / "b.safetensors", "kohya", convolutions=convolutions)
        pipeline.load_lora_weights(tmp_path, weight_name="b.safetensors", adapter_name="a")
    else:
        pipeline.load_lora_weights(tmp_path, weight_name="a.safetensors", adapter_name="a")
    pipeline.set_adapters(["a"], [0.7])
    try:
        found = outputs(pipeline, sd)
    finally:
        pipeline.unload_lora_weights()
        attached.detach()
    for (theirs, ours), (_, bare) in zip(found, before, strict=True):
        assert difference(ours, theirs) <= 1e-4
        assert difference(bare, theirs) > 1e-2  # it does something
    after = outputs(pipeline, sd)
    assert all(torch.equal(new[1], old[1]) for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("form", ["LoHa", "LoKr"])
def test_lycoris_equals_peft(tmp_path, form):
    """PEFT's own LoHa and LoKr of a linear layer and a convolution, written in LyCORIS' names."""
    from tintype.adapters.deltas import Delta, added

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(12, 8), torch.nn.Unflatten(1, (8, 1, 1)), torch.nn.Conv2d(8, 6, 3, padding=1)
    )
    alpha = 4.0 if form == "LoKr" else 2.0  # LyCORIS takes 1 where both factors are whole, PEFT alpha / rank always
    config = {"target_modules": ["0", "2"], "r": 4, "alpha": alpha, "init_weights": False}
    if form == "LoHa":
        wrapped = peft.LoHaModel(network, peft.LoHaConfig(**config, use_effective_conv2d=True), "default")
    else:
        wrapped = peft.LoKrModel(network, peft.LoKrConfig(**config, use_effective_conv2d=True), "default")
    for name in ("0", "2"):
        layer = wrapped.model.get_submodule(name)
        kinds = {}
        for key, parameter in layer.named_parameters():
            kind = key.split(".")[0]
            if kind.startswith(("hada", "lokr")):
                kinds[kind] = parameter.detach()
        delta = Delta(kinds, alpha=alpha)
        assert delta.form == form
        base = layer.get_base_layer()
        expected = layer.get_delta_weight("default").detach()
        torch.testing.assert_close(delta.dense(base.weight.shape), expected, atol=1e-6, rtol=1e-5)
        assert delta.fits(base)
        x = torch.randn(2, 12) if name == "0" else torch.randn(2, 8, 5, 5)
        out = layer(x) - base(x)
        torch.testing.assert_close(added(base, x, delta.factors(base)), out, atol=1e-5, rtol=1e-4)
