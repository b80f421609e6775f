"""The verbs `export`, `compile`, `verify` and `inspect`.

What they need beyond typer is imported on use: `inspect` works where there is no torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from exporter.source import SourceOptions

Source = Annotated[
    Path,
    typer.Argument(
        help="Diffusers folder, single .safetensors checkpoint, or ORGANISATION/NAME of a model "
        "on the Hugging Face Hub."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The new bundle (a folder).")]
MaxMemory = Annotated[
    str | None, typer.Option(help="Stop rather than hold more memory than this, such as 4GB.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Start afresh after an interruption, and replace an output that exists."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

# What a source leaves open, and what is taken from elsewhere.
Config = Annotated[
    Path | None,
    typer.Option(
        help="For a checkpoint: a Diffusers folder with configs, scheduler and tokenizer; its "
        "weights are not used. Without it they are read off the checkpoint."
    ),
]
Tokenizer = Annotated[
    Path | None, typer.Option(help="Folder of another tokenizer than the source's.")
]
Vae = Annotated[
    Path | None,
    typer.Option(help="Another VAE than the source's: folder, .safetensors file or Hub id."),
]
TextEncoder = Annotated[
    Path | None,
    typer.Option(help="Another text encoder than the source's: folder, file or Hub id."),
]
TextEncoder2 = Annotated[
    Path | None,
    typer.Option("--text-encoder-2", help="Another second text encoder of SDXL, likewise."),
]
Tokenizer2 = Annotated[
    Path | None,
    typer.Option("--tokenizer-2", help="Folder of another tokenizer for SDXL's second encoder."),
]
PredictionType = Annotated[
    str | None,
    typer.Option(
        help="What a checkpoint's U-Net predicts: epsilon or v_prediction. SD 2.x needs it."
    ),
]
Refiner = Annotated[
    Path | None,
    typer.Option(
        help="SDXL's refiner, into the same bundle as its base: folder, .safetensors file or Hub "
        "id. Text encoder and VAE are the base's."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.")]


def export(
    source: Source,
    output: Output,
    dtype: Annotated[
        str, typer.Option(help="How weights are stored: source (as they are), fp32 or fp16.")
    ] = "source",
    component: Annotated[
        list[str] | None,
        typer.Option(help="Export this component alone; may be given several times."),
    ] = None,
    verify: Annotated[
        str,
        typer.Option(
            help="Compare the components with torch, the image (components and then a whole "
            "picture), the layers (components a layer at a time, in little memory), or none."
        ),
    ] = "components",
    config: Config = None,
    tokenizer: Tokenizer = None,
    vae: Vae = None,
    text_encoder: TextEncoder = None,
    prediction_type: PredictionType = None,
    revision: Revision = None,
    refiner: Refiner = None,
    text_encoder_2: TextEncoder2 = None,
    tokenizer_2: Tokenizer2 = None,
    steps: Annotated[
        int | None,
        typer.Option(help="The bundle's default of sampler steps, in place of the model's own."),
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Its default guidance, likewise; 0 for a distilled model.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    max_memory: MaxMemory = None,
) -> None:
    """Export a model to a portable bundle, verified against torch.

    After an interruption the same command goes on from what was finished.
    """
    from exporter.defaults import Wanted
    from exporter.export import export as run
    from exporter.memory import read_size

    manifest = run(
        source,
        output,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
        components=tuple(component) if component else None,
        verify=verify,  # pyright: ignore[reportArgumentType]
        force=force,
        source_options=_source_options(
            config,
            tokenizer,
            vae,
            text_encoder,
            prediction_type,
            revision,
            refiner,
            text_encoder_2,
            tokenizer_2,
        ),
        wanted=Wanted(steps, guidance_scale),
        max_memory=None if max_memory is None else read_size(max_memory),
        progress=_tell,
    )
    _print_manifest(output, manifest, as_json=as_json)


def compile(
    bundle: Annotated[Path, typer.Argument(help="Portable bundle that `latedge export` wrote.")],
    output: Output,
    target: Annotated[str, typer.Option(help="onnxruntime, openvino or coreml.")],
    precision: Annotated[
        str | None, typer.Option(help="How weights are stored: fp32 or fp16.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Fix the pictures' height, pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="Fix the pictures' width, pixels.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Fix the U-Net's batch: 2 takes both guidance halves at once, 1 one."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="optimum, or genai for what OpenVINO GenAI opens as well.")
    ] = "optimum",
    arithmetic: Annotated[
        str | None,
        typer.Option(
            help="What may be computed in: fp32; fp16, where a scan finds that values fit; or "
            "force-fp16. The default for half weights is fp16, but ONNX Runtime's fp32."
        ),
    ] = None,
    deployment_target: Annotated[
        str | None,
        typer.Option(help="Core ML: the oldest system that shall run it, iOS17 unless told."),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="Core ML: split-einsum (the default) or split-einsum-v2 for the Neural Engine, "
            "original for the GPU, or sdpa, one operator from iOS18 on."
        ),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option(help="Core ML: weights in fewer bits: palette-6, int8, mixed-4.5, …"),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Core ML: a quantization.json of the same U-Net, for mixed-… and w8a8; without "
            "it what they rest on is measured, a run of the U-Net for each layer and width."
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Core ML: heights and widths that the packages take, the default first: "
            "512x512,768x512."
        ),
    ] = None,
    chunk_unet: Annotated[
        bool, typer.Option("--chunk-unet", help="Core ML: the U-Net in two packages.")
    ] = False,
    max_memory: MaxMemory = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compile a portable bundle for an engine.

    After an interruption the same command goes on from what was finished.
    """
    from exporter.compile import compile as run
    from exporter.coreml.options import CoreMlOptions
    from exporter.memory import read_size

    manifest = run(
        bundle,
        output,
        target=target,
        precision=precision,
        height=height,
        width=width,
        batch=batch,
        force=force,
        layout=layout,
        arithmetic=arithmetic,
        coreml=CoreMlOptions(
            deployment_target=deployment_target,
            attention=attention,
            compression=compress,
            recipe=recipe,
            sizes=tuple(sizes.split(",")) if sizes is not None else (),
            chunked=chunk_unet,
        ),
        max_memory=None if max_memory is None else read_size(max_memory),
        progress=_tell,
    )
    _print_manifest(output, manifest, as_json=as_json)


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    against: Annotated[
        Path | None,
        typer.Option(help="Source model or portable bundle whose weights torch takes."),
    ] = None,
    locate: Annotated[
        bool,
        typer.Option(
            "--locate", help="Look for the first departing node also where a component passes."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start afresh after an interruption.")
    ] = False,
    image: Annotated[
        bool, typer.Option("--image", help="Compare a whole picture with diffusers', too.")
    ] = False,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Compare the components a layer at a time, in little memory."
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="Of a compiled bundle's engine; if absent the CPU, or reference: NumPy in Core "
            "ML's place."
        ),
    ] = None,
    config: Config = None,
    tokenizer: Tokenizer = None,
    vae: Vae = None,
    text_encoder: TextEncoder = None,
    prediction_type: PredictionType = None,
    revision: Revision = None,
    refiner: Refiner = None,
    text_encoder_2: TextEncoder2 = None,
    tokenizer_2: Tokenizer2 = None,
    as_json: Json = False,
) -> None:
    """Hash every file of a bundle and compare its components with torch.

    Where a component departs from torch, the first node that does is looked for and named.

    After an interruption the same command goes on from what was compared.

    What a source had from elsewhere at the export (--vae and the like) is given again.
    """
    import msgspec

    from exporter.report import require_parity
    from exporter.verify import verify as run
    from runtimes.manifest import MANIFEST_NAME

    report = run(
        bundle,
        against=against,
        source_options=_source_options(
            config,
            tokenizer,
            vae,
            text_encoder,
            prediction_type,
            revision,
            refiner,
            text_encoder_2,
            tokenizer_2,
        ),
        locate=locate,
        image=image,
        by_layer=layers,
        force=force,
        device=device,
        progress=_tell,
    )
    if as_json:
        print(msgspec.json.encode(report).decode())
    require_parity(report)
    if not as_json:
        # A folder that Optimum exported has no manifest to compare its files with.
        told = (bundle / MANIFEST_NAME).is_file()
        files = "every file is as its manifest says and " if told else ""
        picture = ", and so does the whole picture" if image else ""
        print(f"{bundle}: {files}every component agrees with torch{picture}")


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A bundle, an export by Optimum, a Diffusers folder or a .safetensors file.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Tell what a bundle, a model or a weight file is, and how that is known."""
    from exporter.source import PICKLES
    from runtimes.optimum.folder import holds_graphs, is_without_manifest

    # What is neither a model nor a bundle is refused as a bundle.
    is_model = is_without_manifest(path) and not holds_graphs(path)
    if is_model or path.is_file() or path.suffix in PICKLES:
        _inspect_source(path, as_json=as_json)
    else:
        _inspect_bundle(path, as_json=as_json)


def _inspect_bundle(path: Path, *, as_json: bool) -> None:
    from runtimes.inspection import inspect

    found = inspect(path)
    if as_json:
        import msgspec

        print(msgspec.json.encode(found).decode())
    else:
        from runtimes.inspection_table import show

        show(found)


def _inspect_source(path: Path, *, as_json: bool) -> None:
    from exporter.inspection import inspect_source

    found = inspect_source(path)
    if as_json:
        import msgspec

        print(msgspec.json.encode(found).decode())
    else:
        from exporter.inspection_table import show

        show(found)


def _source_options(
    config: Path | None,
    tokenizer: Path | None,
    vae: Path | None,
    text_encoder: Path | None,
    prediction_type: str | None,
    revision: str | None,
    refiner: Path | None,
    text_encoder_2: Path | None,
    tokenizer_2: Path | None,
) -> SourceOptions:
    from exporter.source import SourceOptions

    return SourceOptions(
        config=config,
        tokenizer=tokenizer,
        vae=vae,
        text_encoder=text_encoder,
        prediction_type=prediction_type,  # pyright: ignore[reportArgumentType]
        revision=revision,
        refiner=refiner,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_manifest(output: Path, manifest: object, *, as_json: bool) -> None:
    from runtimes.manifest import Manifest, encode_manifest

    assert isinstance(manifest, Manifest)
    if as_json:
        print(encode_manifest(manifest).decode(), end="")
        return
    size = sum(file.size for file in manifest.files.values())
    names = ", ".join(manifest.components)
    kind = manifest.target or "portable"
    print(f"{output}: {manifest.family}, {kind}, {names}; {size / 1e6:.1f} MB")
