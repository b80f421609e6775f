"""What a bundle is able to do: whether it makes pictures, and of which kinds."""

from __future__ import annotations

from runtimes.built_sizes import built_sizes
from runtimes.bundle import Bundle
from runtimes.component import fitting_graph
from runtimes.errors import BundleError
from runtimes.latents import built_cells
from runtimes.parts import ROLES
from runtimes.prompts.encoders import UNET, takes_text, text_encoders
from runtimes.tasks import TASKS, inputs_of


def needed(bundle: Bundle) -> tuple[str, ...]:
    """The components that every call of a bundle takes, in the order in which it takes them.

    Raises:
        BundleError: there is no U-Net.
    """
    encoders = (bundle.manifest.tokenizers or ("text_encoder",)) if takes_text(bundle) else ()
    return (*encoders, UNET, "vae_decoder")


def check_able(bundle: Bundle) -> None:
    """Refuses a bundle that can't make pictures.

    Raises:
        BundleError: says what it is for, or what it lacks.
    """
    tasks = bundle.manifest.tasks
    if not set(tasks) & set(TASKS):
        raise BundleError(
            f"{bundle.path} can't make pictures; it is made for "
            f"{', '.join(tasks) or 'no task that this version of latedge knows'}."
        )
    for name in needed(bundle):
        bundle.graph(name)
    for name in bundle.manifest.components:
        if name.startswith("text_encoder") and name not in bundle.manifest.tokenizers:
            raise BundleError(f"{bundle.path} has no tokenizer for its {name}. Export it again.")
    text_encoders(bundle)
    refiner = bundle.manifest.refiner
    if refiner is not None:
        _check_refiner(bundle, refiner.component)


def _check_refiner(bundle: Bundle, unet: str) -> None:
    """Refuses a refiner that can't take over what the base leaves, at any size."""
    fitting_graph(bundle, unet, ROLES["unet_refiner"])
    text_encoders(bundle, unet=unet)
    for size in built_sizes(bundle) or (None,):
        sized = bundle if size is None else bundle.at(*size)
        _check_same_size(sized, unet)


def _check_same_size(bundle: Bundle, unet: str) -> None:
    base, refiner = built_cells(bundle, "unet"), built_cells(bundle, unet)
    if base != refiner:
        raise BundleError(
            f"{bundle.path}: the U-Net was built for latents of {base}, its refiner for {refiner}. "
            "Compile both for the same size."
        )


def check_task(bundle: Bundle, task: str) -> None:
    """Refuses a bundle that is not made for a task.

    Raises:
        BundleError: says what it is made for.
    """
    if task not in bundle.manifest.tasks:
        raise BundleError(
            f"{bundle.path} can't do {task}; it is made for "
            f"{'; '.join(f'{each} (takes {inputs_of(each)})' for each in bundle.manifest.tasks)}."
        )
