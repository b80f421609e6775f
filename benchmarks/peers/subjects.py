"""The rows: who is measured, in which environment, on what, and what is to know about each."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "source"
SINGLE = "single file"
"""What a peer may open beside an export."""

FLOAT32 = (
    "told INFERENCE_PRECISION_HINT=f32: on a processor with bf16, OpenVINO computes in it unasked"
)
STORED_FP16 = "weights are stored in fp16 and computed with in float32"

_DIFFUSERS = "benchmarks.peers.workers.diffusers_pipelines"
_GENAI = "benchmarks.peers.workers.genai"
_BUNDLE = "benchmarks.bench.worker"


@dataclass(frozen=True)
class Peer:
    """A program on one form of the model.

    Attributes:
        name: of the row.
        program: of the row.
        environment: that it runs in.
        opens: `SOURCE`, `SINGLE`, or an export by its name.
        module: the worker.
        precision: of the weights as they are stored or, from the source, loaded.
        before: arguments of the worker before the model.
        after: and after it.
        memory: free memory that it asks for, by the weights in float32; as SD 1.5 took.
        noise: whether it draws from the noise that the others draw from.
        notes: what is to know about its figures.
    """

    name: str
    program: str
    environment: str
    opens: str
    module: str
    precision: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    memory: float = 2.0
    noise: bool = True
    notes: tuple[str, ...] = ()

    @property
    def is_bundle(self) -> bool:
        """Whether it is latedge's own runtime."""
        return self.module == _BUNDLE

    def command(self, python: str, path: str, threads: int) -> tuple[str, ...]:
        """How its worker is started."""
        precision = () if self.is_bundle else ("--precision", self.precision)
        return (
            *(python, "-m", self.module, *self.before, path),
            *("--threads", str(threads), *precision, *self.after),
        )


_VERIFIED = (
    "exported with --verify none: the peers don't compare what they export with torch either"
)
_GENAI_NOTES = (
    FLOAT32,
    "stages are those that GenAI tells itself, text encoder and VAE decoder in whole ms",
    "pictures have 8 bits a channel, cut off: 53 dB is the most that they can reach",
)


def _latedge(engine: str, precision: str, memory: float, *notes: str) -> Peer:
    return Peer(
        f"latedge {engine} {precision}",
        "latedge",
        f"latedge-{engine}",
        f"latedge-{engine}-{precision}",
        _BUNDLE,
        precision,
        memory=memory,
        notes=(_VERIFIED, *notes),
    )


PEERS: tuple[Peer, ...] = (
    Peer(
        "diffusers eager",
        "diffusers",
        "diffusers",
        SOURCE,
        _DIFFUSERS,
        "fp32",
        before=("diffusers",),
        memory=1.6,
        notes=("opens the source, whatever its weights are stored in, as float32",),
    ),
    Peer(
        "diffusers compiled",
        "diffusers",
        "diffusers",
        SOURCE,
        _DIFFUSERS,
        "fp32",
        before=("diffusers",),
        after=("--compile",),
        memory=2.0,
        notes=(
            "opens the source, whatever its weights are stored in, as float32",
            "torch.compile of the networks' forward methods; the first call compiles, in C++",
        ),
    ),
    Peer(
        "Optimum ONNX Runtime",
        "optimum-onnx",
        "optimum-onnx",
        "optimum-onnx-fp32",
        _DIFFUSERS,
        "fp32",
        before=("optimum-onnx",),
        memory=2.9,
    ),
    Peer(
        "Optimum-Intel OpenVINO",
        "optimum-intel",
        "optimum-intel",
        "optimum-intel-fp16",
        _DIFFUSERS,
        "fp16",
        before=("optimum-intel",),
        memory=2.2,
        notes=(FLOAT32, STORED_FP16),
    ),
    Peer(
        "OpenVINO GenAI fp16",
        "openvino-genai",
        "openvino-genai",
        "optimum-intel-fp16",
        _GENAI,
        "fp16",
        notes=(*_GENAI_NOTES, STORED_FP16, "the folder is Optimum-Intel's, and so is its export"),
    ),
    Peer(
        "OpenVINO GenAI int8",
        "openvino-genai",
        "openvino-genai",
        "optimum-intel-int8",
        _GENAI,
        "int8",
        notes=(*_GENAI_NOTES, "weights in int8: the picture is another"),
    ),
    Peer(
        "stable-diffusion.cpp",
        "stable-diffusion.cpp",
        "stable-diffusion-cpp",
        SINGLE,
        "benchmarks.peers.workers.sd_cpp",
        "fp16",
        memory=1.2,
        noise=False,
        notes=(
            "a U-Net call is one of its steps: the guidance halves one after the other, and the "
            "sampler's arithmetic",
            "DDIM with trailing timesteps, the only one it has, from its own noise: the picture is "
            "another",
            "compiled here with its default options, for this processor; opens one file, as the "
            "weights are stored in it",
        ),
    ),
    _latedge("onnxruntime", "fp32", 2.0),
    _latedge("onnxruntime", "fp16", 2.0, STORED_FP16),
    _latedge("openvino", "fp16", 2.0, FLOAT32, STORED_FP16),
)
"""In the order of the report; the others are compared with the first."""
