"""Models by their names on the Hub, from a server on this machine: what is asked for, what is resumed, what is said."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

import tintype
from tests.unit.checkpoints.hub_server import COMMIT, Hub, files_of
from tintype import cli
from tintype.checkpoints import hub_files
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.hub import fetch, is_hub_name
from tintype.cli import terminal
from tintype.errors import CheckpointError

NAME = "someone/tiny-sd"
UNET = "unet/diffusion_pytorch_model.safetensors"
JUNK = {
    "README.md": b"# A model",
    ".gitattributes": b"*",
    "model.safetensors": b"all in one" * 500,
    "v1.ckpt": b"all in one" * 500,
    "unet/diffusion_pytorch_model.bin": b"pickle" * 500,
    "unet/diffusion_pytorch_model.fp16.bin": b"pickle" * 500,
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"other" * 500,
    "unet/diffusion_flax_model.msgpack": b"flax" * 500,
    "unet/model.onnx": b"onnx" * 500,
    "unet/openvino_model.bin": b"openvino" * 500,
    "unet/openvino_model.xml": b"openvino" * 500,
    "text_encoder/pytorch_model.bin": b"pickle" * 500,
    "text_encoder/flax_model.msgpack": b"flax" * 500,
    "vae/diffusion_pytorch_model.bin": b"pickle" * 500,
    "vae_encoder/model.onnx": b"onnx" * 500,
    "safety_checker/config.json": b"{}",
    "safety_checker/model.safetensors": b"unsafe" * 500,
    "feature_extractor/preprocessor_config.json": b"{}",
    "sample.png": b"picture" * 500,
}


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory) -> dict[str, bytes]:
    """A model with two sets of weights, and all that lies about in a real one."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    save_folder(tiny, folder)
    save_folder(tiny, folder, variant="fp16", dtype=torch.float16, overwrite=True)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return files_of(folder) | JUNK


NEEDED = {
    *("model_index.json", "tintype.json", "vocabulary.json", "scheduler/scheduler_config.json"),
    *("tokenizer/merges.txt", "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json"),
    *("tokenizer/vocab.json", "unet/config.json", "vae/config.json", "text_encoder/config.json"),
}
PLAIN = {UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
FP16 = {name.replace(".safetensors", ".fp16.safetensors") for name in PLAIN}


@pytest.fixture
def hub(files, tmp_path, monkeypatch):
    with Hub({NAME: dict(files)}) as hub:
        use(hub.endpoint, tmp_path / "cache", monkeypatch)
        yield hub


def use(endpoint, cache, monkeypatch) -> None:
    """As HF_ENDPOINT and HF_HOME would, had they been set before huggingface_hub was imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_files, "PAUSE_SECONDS", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variant", "weights"), [(None, PLAIN), ("fp16", FP16)])
def test_only_what_is_needed_is_fetched_and_once(hub, files, variant, weights):
    folder = fetch(NAME, variant=variant)
    assert sorted(hub.fetched()) == sorted(NEEDED | weights)
    assert folder.name == COMMIT
    assert {name: content for name, content in files.items() if name in NEEDED | weights} == files_of(folder)
    hub.requests.clear()
    assert fetch(NAME, variant=variant) == folder
    assert not hub.fetched()


def test_it_is_the_model(hub, tiny):
    sd = tintype.load(NAME, device="cpu", dtype=torch.float32)
    for ours, theirs in ((sd.unet, tiny.unet), (sd.autoencoder, tiny.autoencoder)):
        state = theirs.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    assert sd.name == "tiny-sd"
    hub.requests.clear()
    tintype.load(NAME, device="cpu", offline=True)
    assert not hub.requests


def test_pickles_are_fetched_only_where_there_is_nothing_else(hub):
    del hub.models[NAME][UNET]
    fetch(NAME)
    assert "unet/diffusion_pytorch_model.bin" in hub.fetched()
    assert not [name for name in hub.fetched() if name.endswith(".bin") and not name.startswith("unet/")]


def test_shards_are_found_through_their_index(hub, tiny, tmp_path):
    save_folder(tiny, tmp_path / "sharded", max_shard_bytes=50_000)
    hub.models[NAME] = files_of(tmp_path / "sharded")
    fetch(NAME)
    shards = {name for name in hub.models[NAME] if "-of-" in name}
    assert len(shards) > 3
    assert shards < set(hub.fetched()) and len(hub.fetched()) == len(set(hub.fetched()))
    tintype.load(NAME, device="cpu", offline=True)


def test_an_index_of_shards_cannot_point_outside(hub):
    del hub.models[NAME][UNET]
    outside = {"weight_map": {"a": "../../../../outside.safetensors"}}
    hub.models[NAME]["unet/diffusion_pytorch_model.safetensors.index.json"] = json.dumps(outside).encode()
    with pytest.raises(CheckpointError, match="files beside it"):
        fetch(NAME)


@pytest.mark.parametrize(
    "form", ["{}/model.safetensors", "{}:model.safetensors", "{}/sub/deep.ckpt", "{}:sub/deep.ckpt"]
)
def test_one_file(hub, form):
    hub.models[NAME]["sub/deep.ckpt"] = b"deep" * 1000
    path = fetch(form.format(NAME))
    name = "sub/deep.ckpt" if "deep" in form else "model.safetensors"
    assert hub.fetched() == [name]
    assert path.read_bytes() == hub.models[NAME][name] and path.name == name.split("/")[-1]
    assert fetch(form.format(NAME), offline=True) == path


def test_an_autoencoder_by_itself(hub, files):
    hub.models["someone/vae"] = {name[4:]: content for name, content in files.items() if name.startswith("vae/")}
    sd = tintype.load(NAME, vae="someone/vae", device="cpu", dtype=torch.float32)
    assert {"config.json", "diffusion_pytorch_model.safetensors"} < set(hub.fetched())
    state = tintype.load(NAME, device="cpu", dtype=torch.float32).autoencoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in sd.autoencoder.state_dict().items())


@pytest.mark.parametrize("revision", ["v1", COMMIT, "main"])
def test_revisions(hub, revision):
    folder = fetch(NAME, revision=revision)
    hub.requests.clear()
    assert fetch(NAME, revision=revision, offline=True) == folder
    assert not hub.requests


def test_progress(hub, files):
    heard: list[tuple[str, int, int]] = []
    fetch(NAME, progress=lambda *how_far: heard.append(how_far))
    assert {name for name, _, _ in heard} == NEEDED | PLAIN
    for name in NEEDED | PLAIN:
        steps = [here for file, here, whole in heard if file == name and whole == len(files[name])]
        assert steps == sorted(steps) and steps[-1] == len(files[name])


def test_the_command_line_says_how_far_it_is(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "LARGE_BYTES", 50_000)
    picture = tmp_path / "a.png"
    words = ["--model", NAME, "--steps", "1", "--width", "64", "--height", "64", "--output", str(picture), "a red boat"]
    with pytest.raises(SystemExit) as ended:
        cli.app(["text2img", *words])
    said = capsys.readouterr().err
    assert not ended.value.code, said
    assert f"Fetching {UNET}: 1 of 1 MB" in said and picture.is_file()


def test_nothing_is_printed(hub, capfd):
    fetch(NAME)
    assert capfd.readouterr() == ("", "")


def ranges(hub: Hub) -> list[str | None]:
    return [asked for method, file, asked in hub.requests if (method, file) == ("GET", UNET)]


def test_an_interrupted_download_is_taken_up_within_a_call(hub, files):
    hub.cuts[UNET] = [10_000, 5_000]
    folder = fetch(NAME)
    assert (folder / UNET).read_bytes() == files[UNET]
    assert ranges(hub) == [None, "bytes=10000-", "bytes=15000-"]


def test_and_by_the_next_call(hub, files):
    hub.cuts[UNET] = [10_000, *[0] * 20]
    with pytest.raises(CheckpointError, match=r"taken up the next time.*offline=True"):
        fetch(NAME)
    assert len(ranges(hub)) == 1 + hub_files.MAX_FAILURES - 1
    hub.cuts.clear()
    hub.requests.clear()
    folder = fetch(NAME)
    assert (folder / UNET).read_bytes() == files[UNET]
    assert ranges(hub) == ["bytes=10000-"]
    assert not list(folder.parents[1].rglob("*.incomplete"))


def test_a_server_that_knows_no_ranges_begins_anew(hub, files):
    hub.ranges = False
    hub.cuts[UNET] = [10_000]
    folder = fetch(NAME)
    assert (folder / UNET).read_bytes() == files[UNET]
    assert ranges(hub) == [None, "bytes=10000-"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(hub, status):
    hub.statuses[UNET] = [status, status]
    fetch(NAME)
    assert len(ranges(hub)) == 3


def test_a_server_that_refuses_is_not_asked_again(hub):
    hub.statuses[UNET] = [410] * 9
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        fetch(NAME)
    assert len(ranges(hub)) == 1


@pytest.mark.parametrize("name", [UNET, "unet/config.json"])
def test_a_wrong_checksum_is_an_error_and_leaves_nothing(hub, files, name):
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    hub.wrong[name] = bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} .* has a wrong checksum"):
        fetch(NAME)
    with pytest.raises(CheckpointError):
        fetch(NAME, offline=True)
    hub.wrong.clear()
    assert (fetch(NAME) / name).read_bytes() == files[name]


def test_bytes_without_end_are_not_stored(hub, files):
    hub.wrong[UNET] = files[UNET] + bytes(5_000_000)
    with pytest.raises(CheckpointError, match="longer than"):
        fetch(NAME)


def test_offline_before_anything_was_fetched(hub):
    with pytest.raises(CheckpointError, match=r"no folder someone/tiny-sd here.*not fetched before.*Load it once"):
        fetch(NAME, offline=True)
    assert not hub.requests


def test_offline_after_half_of_it_was_fetched(hub):
    hub.statuses["vae/diffusion_pytorch_model.safetensors"] = [410]
    with pytest.raises(CheckpointError):
        fetch(NAME)
    with pytest.raises(CheckpointError, match=r"in the cache.*vae has no weights without a variant"):
        fetch(NAME, offline=True)


def test_the_environment_can_forbid_the_network(hub, monkeypatch):
    fetch(NAME)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME).name == COMMIT
    assert not hub.requests


def test_as_the_environment_says(hub, tmp_path):
    """Without any patching: HF_ENDPOINT and HF_HOME in a process of its own, and then without the server."""
    code = f"from tintype.checkpoints.hub import fetch; print(fetch({NAME!r}).name)"
    words = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    words |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    words |= {"TRANSFORMERS_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=words, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (COMMIT, "")
    assert sorted(hub.fetched()) == sorted(NEEDED | PLAIN)
    assert (tmp_path / "home" / "hub" / "models--someone--tiny-sd" / "refs" / "main").read_text() == COMMIT


def test_no_network(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use(f"http://127.0.0.1:{port}", tmp_path / "cache", monkeypatch)
    with pytest.raises(CheckpointError, match=r"does not answer.*offline=True.*a folder or file.*HF_ENDPOINT"):
        tintype.load(NAME)


def test_what_the_hub_does_not_have(hub):
    with pytest.raises(CheckpointError, match=r"no folder someone/else here and no model someone/else on .*private"):
        fetch("someone/else")
    with pytest.raises(CheckpointError, match="has no revision 'v9'"):
        fetch(NAME, revision="v9")
    with pytest.raises(CheckpointError, match=r"has no nothing\.safetensors\. It has model\.safetensors, v1\.ckpt"):
        fetch(f"{NAME}/nothing.safetensors")
    with pytest.raises(CheckpointError, match=r"text_encoder has no weights of variant='fp32'.*variant='fp16'"):
        fetch(NAME, variant="fp32")
    del hub.models[NAME]["model_index.json"]
    with pytest.raises(
        CheckpointError, match=r"no model_index\.json\. It has model\.safetensors, .*someone/tiny-sd:FILE"
    ):
        fetch(NAME)
    hub.gated.add(NAME)
    with pytest.raises(CheckpointError, match=r"asks for consent.*HF_TOKEN"):
        fetch(NAME)


def test_the_missing_variant_is_known_before_weights_are_fetched(hub):
    hub.models[NAME] = {name: content for name, content in hub.models[NAME].items() if ".fp16." not in name}
    with pytest.raises(CheckpointError, match="weights without a variant: ask for that"):
        fetch(NAME, variant="fp16")
    assert not [name for name in hub.fetched() if name.endswith((".safetensors", ".bin"))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("stabilityai/stable-diffusion-2-1", True),
        ("a/b/model.safetensors", True),
        ("a/b:sub/model.ckpt", True),
        ("here/model", False),  # a folder of that name is here, so a path is meant
        ("here/model/x.safetensors", False),
        ("here/model:x.safetensors", True),
        ("here", False),
        ("no/such/folder", False),
        ("./a/b", False),
        ("../a/b", False),
        ("/a/b", False),
        ("~/a", False),
        ("a/../b", False),
        ("models/x.safetensors", False),
        ("x.ckpt", False),
        ("a b/c", False),
        ("https://example.org/a", False),
        ("C:\\a\\b", False),
        ("", False),
    ],
)
def test_what_is_taken_for_a_name(tmp_path, monkeypatch, source, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert is_hub_name(source) == expected


def test_no_name_no_network(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for source in ("nothing", "./some/where", tmp_path / "a" / "b"):
        with pytest.raises(CheckpointError, match="There is no"):
            tintype.load(source)


def test_models_elsewhere_cost_no_time(tmp_path):
    """Without a name of the Hub, its library is not even imported."""
    code = "import sys, tintype.checkpoints.load; assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_file_of_weights_is_what_it_was(hub):
    content = save({"w": torch.arange(5000.0)})
    hub.models[NAME]["lora.safetensors"] = content
    assert fetch(f"{NAME}:lora.safetensors").read_bytes() == content
