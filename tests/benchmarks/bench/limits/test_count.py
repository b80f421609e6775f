"""Whole networks: the same products as torch counts, in every form that a bundle has."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.bench.limits.count import Count, count
from benchmarks.bench.limits.graph import CountError
from benchmarks.synthetic.models import MODELS
from exporter.components import component
from exporter.passes import PORTABLE, apply
from exporter.portable import bind, save, weight_keys
from exporter.trace import capture
from runtimes.bundle import open_bundle

Make = Callable[[str], Path]

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "text_encoder": {"input_ids": (2, 77)},
    "unet": {"sample": (2, 4, 7, 10), "timestep": (1,), "encoder_hidden_states": (2, 77, 128)},
    "vae_decoder": {"latent_sample": (1, 4, 7, 10)},
}
TARGETS = ("portable", "onnxruntime", "openvino")


def network(model: Path, component: str) -> Callable[..., Any]:
    """On torch's meta device, its attention as the products that torch counts."""
    with torch.device("meta"):
        if component == "text_encoder":
            config = CLIPTextConfig.from_pretrained(
                model / "text_encoder", attn_implementation="eager"
            )
            return CLIPTextModel(config).eval()
        kind: Any = UNet2DConditionModel if component == "unet" else AutoencoderKL
        built = kind.from_config(kind.load_config(model / component.removesuffix("_decoder")))
        built.set_attn_processor(AttnProcessor())
        return built if component == "unet" else built.decode


def torch_flops(model: Path, component: str) -> int:
    feeds = [torch.empty(shape, device="meta") for shape in SHAPES[component].values()]
    if component == "text_encoder":
        feeds = [feeds[0].long()]
    call = network(model, component)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*feeds)
    return counter.get_total_flops()


def counted(bundle: Path, component: str) -> Count:
    return count(bundle / open_bundle(bundle).graph(component).file, SHAPES[component])


@pytest.mark.parametrize("component", SHAPES)
def test_products_are_torch_s(component: str, shapes_model: Path, shapes_of: Make) -> None:
    wanted = torch_flops(shapes_model, component)
    assert wanted > 0
    found = {target: counted(shapes_of(target), component) for target in TARGETS}
    assert {target: one.products for target, one in found.items()} == dict.fromkeys(TARGETS, wanted)
    for one in found.values():
        assert one.note is None
        assert 0 < one.flops - one.products < 0.05 * wanted
        assert sum(kind.flops for kind in one.by_kind) == one.flops


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_counted_in_the_precision_they_are_stored_in(
    target: str, shapes_of: Make
) -> None:
    bundle = open_bundle(shapes_of(target))
    graph = bundle.graph("unet")
    stored = sum(bundle.manifest.files[name].size for name in graph.weights)
    ends = 4 * (2 * (2 * 4 * 7 * 10) + 1 + 2 * 77 * 128)
    # Headers, padding and constants aside.
    assert counted(bundle.path, "unet").bytes == pytest.approx(stored + ends, rel=0.01)


def test_sizes_computed_as_torchscript_writes_them(tmp_path: Path) -> None:
    """Optimum's graphs: what the older exporter of torch captures, all sizes left free."""
    unet: Any = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
    )
    unet.set_attn_processor(AttnProcessor())
    names = list(SHAPES["unet"])
    axes = {"sample": {0: "b", 2: "h", 3: "w"}, "encoder_hidden_states": {0: "b", 1: "s"}}
    path = tmp_path / "model.onnx"
    feeds = (torch.zeros(1, 4, 9, 7), torch.zeros(1), torch.zeros(1, 5, 128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Plain(unet), feeds, path, dynamo=False, input_names=names, dynamic_axes=axes,
            output_names=["out_sample"], opset_version=17,
        )  # fmt: skip
    found = count(path, SHAPES["unet"])
    unet.to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(*(torch.empty(shape, device="meta") for shape in SHAPES["unet"].values()))
    assert found.products == counter.get_total_flops() > 0
    assert found.outputs == {"out_sample": (2, 4, 7, 10)}
    assert found.note is None
    computed = {kind.kind for kind in found.by_kind}
    assert {"Shape", "Gather", "Concat", "Reshape"} <= computed  # sizes that were not folded


class Plain(torch.nn.Module):
    """A U-Net that gives a tensor."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *feeds: torch.Tensor) -> torch.Tensor:
        return self.unet(*feeds, return_dict=False)[0]


TRUE_SIZE = {
    "unet": {
        "sample": (1, 4, 64, 64),
        "timestep": (1,),
        "encoder_hidden_states": (1, 77, 768),
    },
    "vae_decoder": {"latent_sample": (1, 4, 64, 64)},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("component_name", "folder", "products"),
    # 0.803 and 2.51 TFLOP, as torch counts them.
    [("unet", "unet", 803_273_441_280), ("vae_decoder", "vae", 2_514_518_933_504)],
)
def test_stable_diffusion_at_its_true_size(
    component_name: str, folder: str, products: int, tmp_path: Path
) -> None:
    """Its weights are nowhere: the graph points into a file that isn't there."""
    wrapper = component(component_name)
    config = wrapper.normalise(MODELS["sd15"].networks[folder].config)
    model = apply(capture(wrapper, config), PORTABLE)
    weights = [model.graph.initializers[key] for key in weight_keys(model)]
    bind(model, {str(one.name): ("F16", tuple(one.shape.numpy())) for one in weights if one.shape})
    save(model, tmp_path / "model.onnx")
    found = count(tmp_path / "model.onnx", TRUE_SIZE[component_name])
    assert found.products == products
    assert found.note is None


def test_a_graph_of_another_kind(tmp_path: Path) -> None:
    error = (
        r"^model\.plan is neither an ONNX graph nor an OpenVINO IR; its FLOPs and bytes can't be "
        r"counted\.$"
    )
    with pytest.raises(CountError, match=error):
        count(tmp_path / "model.plan", {})


WITHOUT = """
import sys
for name in {names!r}: sys.modules[name] = None
from pathlib import Path
from benchmarks.bench.limits import count
from runtimes.errors import LatedgeError
try:
    print(count(Path({path!r}), {shapes!r}).products)
except LatedgeError as e:
    print(e)
"""


def told(path: Path, component: str, *names: str) -> str:
    """What counting prints where some packages are absent."""
    code = WITHOUT.format(names=names, path=str(path), shapes=SHAPES[component])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_counting_needs_the_package_of_the_graph_s_form_alone(shapes_of: Make) -> None:
    torch_side = ("torch", "diffusers", "transformers", "onnxscript", "onnx_ir")
    onnx_graph = shapes_of("onnxruntime") / "vae_decoder" / "model.onnx"
    ir = shapes_of("openvino") / "vae_decoder" / "openvino_model.xml"
    products = str(counted(shapes_of("portable"), "vae_decoder").products)
    assert told(onnx_graph, "vae_decoder", *torch_side, "onnxruntime", "openvino") == products
    assert told(ir, "vae_decoder", *torch_side, "onnxruntime", "onnx") == products


def test_a_missing_package_is_told_with_the_command(shapes_of: Make) -> None:
    onnx_graph = shapes_of("onnxruntime") / "vae_decoder" / "model.onnx"
    assert told(onnx_graph, "vae_decoder", "onnx") == (
        "FLOPs and bytes of ONNX graphs are counted with onnx, which is not installed. Install it: "
        "pip install onnx"
    )
