"""Writes a Diffusers folder of Stable Diffusion 1, 2 or XL as one file in the original naming.

The way back of what the exporter does, and written apart from it: here the numbers of blocks come
from the configs, there from the keys.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.synthetic.folder import Progress, synthesize
from exporter.staging import check_room
from exporter.weights import Tensor, read_header, write_safetensors
from runtimes.errors import UsageError

NETWORKS = ("text_encoder", "text_encoder_2", "unet", "vae")

_CHUNK_BYTES = 2**22

_UNET_WORDS = (
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
)
_ORIGINAL = re.compile(r"(time_embed|label_emb|(in|out)put_blocks|middle_block|out)\.")
"""How the original's own names begin: Diffusers networks have modules that it has none for."""

_UNET_RESNET = (
    (r"\.norm1\.(\w+)$", r".in_layers.0.\1"),
    (r"\.conv1\.(\w+)$", r".in_layers.2.\1"),
    (r"\.time_emb_proj\.(\w+)$", r".emb_layers.1.\1"),
    (r"\.norm2\.(\w+)$", r".out_layers.0.\1"),
    (r"\.conv2\.(\w+)$", r".out_layers.3.\1"),
    (r"\.conv_shortcut\.(\w+)$", r".skip_connection.\1"),
)
_VAE_WORDS = (
    (r"conv_norm_out", "norm_out"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"downsamplers\.0", "downsample"),
    (r"upsamplers\.0", "upsample"),
    (r"\.resnets\.", ".block."),
    (r"down_blocks\.", "down."),
)
_OPEN_CLIP_WORDS = (
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


@dataclass(frozen=True)
class _Entry:
    """A tensor of the file: parts that lie one after the other, or values."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Tensor, ...] = ()
    values: bytes = b""


def synthesize_file(
    name: str,
    output: Path,
    *,
    dtype: str = "fp16",
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a synthetic model as one file: the weights of `synthesize` with these arguments.

    Args:
        name: a name in `models.MODELS`.
        output: the new .safetensors file. A folder beside it holds the model meanwhile: twice its
            size is needed.
        dtype: "fp16", "fp32" or "bf16".
        seed: any integer.
        force: replace an existing file.
        progress: called as weights are drawn.

    Returns:
        `output`.

    Raises:
        UsageError, LatedgeError: as `synthesize` and `write_single_file`.
    """
    check_file(output, force=force)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=f".{output.name}.", suffix=".partial", dir=output.parent
    ) as place:
        folder = Path(place) / "model"
        synthesize(name, folder, dtype=dtype, seed=seed, progress=progress)
        return write_single_file(folder, output, force=force)


def write_single_file(
    folder: Path,
    output: Path,
    *,
    networks: Sequence[str] = NETWORKS,
    leftovers: bool = True,
    force: bool = False,
) -> Path:
    """Writes a Diffusers folder as one checkpoint, tensor by tensor.

    Args:
        folder: a Diffusers folder of Stable Diffusion 1, 2 or XL.
        output: the new .safetensors file, which appears whole or not at all.
        networks: those that the file shall hold, of those that there are.
        leftovers: also what public checkpoints hold beside the weights: tables of the noise
            schedule, counters of averaging, position ids, the last layer of SD 2's OpenCLIP, and
            heads.
        force: replace an existing file.

    Returns:
        `output`.

    Raises:
        UsageError: the output exists, or doesn't end in .safetensors, or the original has no name
            for a weight.
        LatedgeError: the disk is too small.
    """
    check_file(output, force=force)
    entries = {
        prefix_and_name: entry
        for network in networks
        if (folder / network).is_dir()
        for prefix_and_name, entry in _network(folder, network, leftovers).items()
    }
    if leftovers:
        entries |= _schedule()
    check_room(output.parent, sum(_size_bytes(entry) for entry in entries.values()))
    partial = output.with_name(f".{output.name}.partial")
    try:
        shapes = {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
        write_safetensors(partial, shapes, lambda name: _chunks(entries[name]))
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return output


def check_file(output: Path, *, force: bool) -> None:
    """Refuses a place for a file; call it before slow work.

    Raises:
        UsageError: it exists and `force` isn't given, or doesn't end in .safetensors.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} must end in .safetensors: one file holds the whole model.")
    if output.is_dir() or (output.exists() and not force):
        raise UsageError(f"{output} exists; give another place, or --force to replace the file.")


def _network(folder: Path, network: str, leftovers: bool) -> dict[str, _Entry]:
    """The entries of a network, with the original's prefix."""
    config = json.loads((folder / network / "config.json").read_text(encoding="utf-8"))
    stem = "model" if network.startswith("text_encoder") else "diffusion_pytorch_model"
    tensors = read_header(folder / network / f"{stem}.safetensors")
    plain = {key: _Entry(t.dtype, t.shape, (t,)) for key, t in tensors.items()}
    if network == "unet":
        renamed = {_unet(key, config): entry for key, entry in plain.items()}
        return {f"model.diffusion_model.{key}": entry for key, entry in renamed.items()}
    if network == "vae":
        last = len(config["block_out_channels"]) - 1
        return {
            f"first_stage_model.{_vae(key, last)}": _pointwise(key, entry)
            for key, entry in plain.items()
        }
    prefix = _text_prefix(folder, network)
    if config["hidden_act"] == "gelu":
        bare = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
        entries = _open_clip(bare, int(config["num_hidden_layers"]), leftovers)
        return {f"{prefix}model.{key}": entry for key, entry in entries.items()}
    if leftovers:
        ids = np.arange(int(config["max_position_embeddings"]), dtype="<i8")
        positions = _Entry("I64", (1, len(ids)), values=ids.tobytes())
        plain["text_model.embeddings.position_ids"] = positions
    return {f"{prefix}transformer.{key}": entry for key, entry in plain.items()}


def _text_prefix(folder: Path, network: str) -> str:
    """SDXL numbers its text encoders; a refiner has the second alone."""
    if not (folder / "text_encoder_2").is_dir():
        return "cond_stage_model."
    second = network == "text_encoder_2" and (folder / "text_encoder").is_dir()
    return f"conditioner.embedders.{int(second)}."


def _replaced(key: str, words: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in words:
        key = re.sub(pattern, replacement, key)
    return key


def _unet(key: str, config: Mapping[str, object]) -> str:
    layers = config["layers_per_block"]
    assert isinstance(layers, int)
    ups = config["up_block_types"]
    assert isinstance(ups, list)
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", key)
    if found:
        side, block, kind = found[1], int(found[2]), found[3]
        start = block * (layers + 1) + (1 if side == "down" else 0)
        if kind == "downsamplers":
            return f"input_blocks.{start + layers}.0.op.{found[5].removeprefix('conv.')}"
        if kind == "upsamplers":
            place = 2 if str(ups[block]).startswith("CrossAttn") else 1
            return f"output_blocks.{start + layers}.{place}.{found[5]}"
        side = "input" if side == "down" else "output"
        place = 0 if kind == "resnets" else 1
        key = f"{side}_blocks.{start + int(found[4])}.{place}.{found[5]}"
    key = _replaced(key, _UNET_WORDS)
    if _ORIGINAL.match(key) is None:
        raise UsageError(f"the original naming has no name for the U-Net's {key}.")
    is_resnet = re.match(r"((in|out)put_blocks\.\d+\.0|middle_block\.[02])\.", key)
    return _replaced(key, _UNET_RESNET) if is_resnet else key


def _vae(key: str, last: int) -> str:
    key = re.sub(r"up_blocks\.(\d+)\.", lambda found: f"up.{last - int(found[1])}.", key)
    return _replaced(key, _VAE_WORDS)


def _pointwise(key: str, entry: _Entry) -> _Entry:
    """The attention's matrices are 1×1 convolutions in the original: the same bytes."""
    if ".attentions." in key and len(entry.shape) == 2:
        return _Entry(entry.dtype, (*entry.shape, 1, 1), entry.parts)
    return entry


def _open_clip(tensors: Mapping[str, Tensor], layers: int, leftovers: bool) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for key, tensor in tensors.items():
        if key == "text_projection.weight":
            entries["text_projection"] = _transposed(tensor)
        elif re.search(r"\.self_attn\.[qkv]_proj\.", key) is None:
            name = _replaced(key, _OPEN_CLIP_WORDS)
            entries[name] = _Entry(tensor.dtype, tensor.shape, (tensor,))
    for layer in range(layers):
        for leaf in ("weight", "bias"):
            attention = f"encoder.layers.{layer}.self_attn"
            parts = tuple(tensors[f"{attention}.{letter}_proj.{leaf}"] for letter in "qkv")
            rows = sum(part.shape[0] for part in parts)
            shape = (rows, *parts[0].shape[1:])
            name = f"transformer.resblocks.{layer}.attn.in_proj_{leaf}"
            entries[name] = _Entry(parts[0].dtype, shape, parts)
    if leftovers:
        entries["logit_scale"] = _values(np.array(4.6, "<f4"))
        if "text_projection" not in entries:
            entries |= _beyond(entries, layers)
    return entries


def _transposed(tensor: Tensor) -> _Entry:
    """OpenCLIP multiplies by its projection from the other side."""
    rows, columns = tensor.shape
    stored = np.frombuffer(b"".join(_chunks(_Entry(tensor.dtype, tensor.shape, (tensor,)))), "u1")
    items = stored.reshape(rows, columns, -1).transpose(1, 0, 2)
    return _Entry(tensor.dtype, (columns, rows), values=items.tobytes())


def _beyond(entries: Mapping[str, _Entry], layers: int) -> dict[str, _Entry]:
    """A last layer, which SD 2 doesn't use (here the first once more), and its projection."""
    first = "transformer.resblocks.0."
    found = {
        f"transformer.resblocks.{layers}.{key.removeprefix(first)}": entry
        for key, entry in entries.items()
        if key.startswith(first)
    }
    width = entries["ln_final.bias"].shape[0]
    found["text_projection"] = _values(np.eye(width, dtype="<f4"))
    return found


def _schedule() -> dict[str, _Entry]:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return {
        "betas": _values(betas.astype("<f4")),
        "alphas_cumprod": _values(np.cumprod(1 - betas).astype("<f4")),
        "model_ema.decay": _values(np.array(0.9999, "<f4")),
        "model_ema.num_updates": _Entry("I32", (), values=np.array(7, "<i4").tobytes()),
    }


def _values(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> _Entry:
    return _Entry("F32", array.shape, values=array.tobytes())


def _size_bytes(entry: _Entry) -> int:
    return len(entry.values) + sum(part.size_bytes for part in entry.parts)


def _chunks(entry: _Entry) -> Iterator[bytes]:
    if entry.values:
        yield entry.values
    for part in entry.parts:
        with part.file.open("rb") as file:
            file.seek(part.offset)
            left = part.size_bytes
            while left:
                chunk = file.read(min(left, _CHUNK_BYTES))
                assert chunk, f"{part.file} became shorter"
                left -= len(chunk)
                yield chunk
