"""OpenVINO bundles in the form that OpenVINO GenAI opens: `compile --layout genai`.

GenAI feeds the timestep as int64 of shape [1], and refuses a float port. It wants the tokenizer as
a model beside its files, `openvino_tokenizer.xml`, which the package openvino-tokenizers converts.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.compile_config import CompileConfig
from exporter.errors import CompileError
from exporter.prompts import PROMPTS
from exporter.targets.ov import OpenVino
from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.manifest import Port
from runtimes.tokenizer import ClipTokenizer

if TYPE_CHECKING:
    import openvino as ov

TOKENIZER_NAME = "openvino_tokenizer.xml"
PACKAGE = "openvino_tokenizers"


class GenAI(OpenVino):
    """OpenVINO IR whose timestep is int64, and a tokenizer's model beside it."""

    def settle(self, bundle: Bundle, config: CompileConfig) -> CompileConfig:
        """See `Target.settle`.

        Raises:
            UsageError: the package that converts tokenizers is absent, or the batch is fixed.
        """
        check_genai(bundle, batch=config.batch)
        return config

    def finish(self, bundle: Bundle, folder: Path) -> tuple[str, ...]:
        """Writes the tokenizers' models; see `Target.finish`."""
        write_tokenizers(bundle, folder)
        return ()

    def _adapt(self, model: ov.Model, inputs: tuple[Port, ...]) -> tuple[Port, ...]:
        """Puts an int64 input and its conversion in the place of a float timestep."""
        from openvino import Type, opset13

        for parameter in model.get_parameters():
            if "timestep" in parameter.output(0).get_names():
                shape = parameter.get_partial_shape()
                whole = opset13.parameter(shape, Type.i64, name="timestep")
                whole.output(0).set_names({"timestep"})
                parameter.output(0).set_names(set())
                converted = opset13.convert(whole, "f32").output(0)
                users = parameter.output(0).get_target_inputs()
                model.replace_parameter(model.get_parameter_index(parameter), whole)
                for user in users:
                    user.replace_source_output(converted)
        return tuple(
            msgspec.structs.replace(port, dtype="int64") if port.role == "timestep" else port
            for port in inputs
        )


def check_genai(bundle: Bundle, *, batch: int | None) -> None:
    """Refuses what can't be laid out for GenAI, before slow work.

    Raises:
        UsageError: the package that converts tokenizers is absent, or the batch is fixed.
        CompileError: the bundle has no text encoder with its tokenizer.
    """
    if find_spec(PACKAGE) is None:
        raise UsageError(
            "layout 'genai' needs openvino-tokenizers, which is not installed: "
            'pip install "latedge[genai]".'
        )
    if batch is not None:
        raise UsageError(
            f"batch {batch} can't be fixed for layout 'genai': GenAI feeds text encoder and U-Net "
            "with both guidance halves and the VAE with one. Leave --batch away."
        )
    if not bundle.manifest.tokenizers:
        raise CompileError(f"{bundle.path} has no tokenizer, which layout 'genai' is made with.")


def write_tokenizers(bundle: Bundle, folder: Path) -> None:
    """Writes each tokenizer of a bundle as an OpenVINO model, beside its files.

    Args:
        bundle: the portable bundle.
        folder: the staged bundle, whose tokenizer folders exist.

    Raises:
        CompileError: the model's ids aren't those of the bundle's tokenizer.
    """
    import openvino as ov

    for name in sorted(set(bundle.manifest.tokenizers.values())):
        model = _converted(bundle.path / name)
        _check_ids(model, bundle.path / name)
        ov.save_model(model, folder / name / TOKENIZER_NAME, compress_to_fp16=False)


def _converted(folder: Path) -> ov.Model:
    from transformers import CLIPTokenizer

    convert = import_module(PACKAGE).convert_tokenizer
    model: Any = convert(CLIPTokenizer.from_pretrained(folder), with_detokenizer=False)
    _number_anew(model)
    return model


def _number_anew(model: ov.Model) -> None:
    """Gives nodes numbers of the model's own order in place of those of the process."""
    for index, node in enumerate(model.get_ordered_ops()):
        if re.search(r"_\d+(\.\d+)?$", node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}.{index}")
    model.inputs[0].get_tensor().set_names({"text"})


def _check_ids(model: ov.Model, folder: Path) -> None:
    """Compares the converted tokenizer with the runtime's own on a few prompts."""
    import openvino as ov

    tokenizer, compiled = ClipTokenizer.open(folder), ov.Core().compile_model(model, "CPU")
    for prompt in PROMPTS:
        expected = [tokenizer.bos_token_id, *tokenizer.tokenize(prompt), tokenizer.eos_token_id]
        found = [int(i) for i in compiled([prompt])["input_ids"][0]]
        if found != expected:
            raise CompileError(
                f"{folder}: openvino-tokenizers converts the tokenizer to one that gives other "
                f"ids for {prompt!r}: {found} in place of {expected}."
            )
