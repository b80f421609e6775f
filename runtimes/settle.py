"""Checks what is asked of a bundle and fills in what is not said, before any slow work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, TypeVar, Unpack

from runtimes.bundle import Bundle
from runtimes.checks import (
    MAX_IMAGES,
    MAX_STEPS,
    check_count,
    check_guidance_scale,
    check_seed,
)
from runtimes.errors import BundleError, UsageError
from runtimes.guidance.check import check_guidance, check_guided_calls
from runtimes.guidance.embedding import guides_itself
from runtimes.inputs import Inputs
from runtimes.latents import built_side, check_side
from runtimes.manifest import Graph
from runtimes.options import Options, check_names, names_of
from runtimes.picture_input import Read, size_of
from runtimes.picture_options import settle_options
from runtimes.plan import Plan, make_plan
from runtimes.preprocess import floored
from runtimes.prompts.branches import Texts
from runtimes.prompts.check import check_readable
from runtimes.prompts.encoders import check_clip_skip
from runtimes.prompts.given import check_texts, embeddings_sha256
from runtimes.prompts.plan import check_long_prompts, check_syntax
from runtimes.read_inputs import ReadInputs
from runtimes.samplers import SAMPLERS, default_sampler, options_of, sampler_names
from runtimes.samplers.choice import Scalar, ScheduleChoice
from runtimes.samplers.options import SIGMA_FLAGS
from runtimes.schedules.given import check_given_count
from runtimes.settings import Settings
from runtimes.tasks import TASKS, inputs_of, latent_upscaling, load_task, pick_task
from runtimes.tasks.from_picture import check_entry
from runtimes.tasks.upscaling import check_noise_level, upscaled_size
from runtimes.tokenizer import ClipTokenizer
from runtimes.vae import check_vae_tile

T = TypeVar("T")

NEEDED = ("text_encoder", "unet", "vae_decoder")
"""Components that every task takes."""

NO_INPUTS = Inputs()


def settle(
    bundle: Bundle,
    prompt: str | Sequence[str] | None = None,
    negative_prompt: str | Sequence[str] | None = None,
    *,
    inputs: Inputs | ReadInputs = NO_INPUTS,
    tokenizers: Mapping[str, ClipTokenizer] | None = None,
    **options: Unpack[Options],
) -> Settings:
    """Checks what is asked of a bundle and fills in what is not said; loads nothing.

    Args:
        bundle: what shall make the pictures.
        prompt: as of `Pipeline.__call__`.
        negative_prompt: likewise.
        inputs: the pictures and arrays of the call.
        tokenizers: the bundle's by text encoder, where it is open already.
        options: see `runtimes.options.Options`.

    Raises:
        UsageError: an argument is wrong, or the bundle can't do it; says what is allowed.
        BundleError: the bundle can't make pictures from text at all.
    """
    check_names(options, names_of(Options))
    check_able(bundle)
    read = ReadInputs.of(inputs)
    task = pick_task(read.given, bundle.manifest.tasks)
    check_task(bundle, task)
    fields = settle_options(task, read.given, options)
    defaults = bundle.manifest.defaults
    prompts, negatives = check_texts(prompt, negative_prompt, read.given)
    scale = check_guidance_scale(_given(options.get("guidance_scale"), defaults.guidance_scale))
    embedded = guides_itself(bundle)
    guidance = check_guidance(
        options,
        scale,
        embedded=embedded,
        negative=any(negatives) or read.given.negative_prompt_embeds is not None,
    )
    syntax = check_syntax(options.get("prompt_syntax"))
    asked = options.get("sampler")
    sampler = _default_sampler(bundle) if asked is None else asked
    choice = ScheduleChoice.of(options).checked()
    steps = _steps(choice, options.get("num_inference_steps"), defaults.num_inference_steps)
    plan = make_plan(bundle, sampler, steps, choice)
    timesteps_visited = [level.timestep for level in plan.levels[:-1]]
    _check_timesteps(bundle.graph("unet"), sampler, timesteps_visited)
    # One prompt for several pictures is the prompt of each.
    texts_alone = read.given.prompt_embeds is None
    each = read.count if read.count and len(prompts) == 1 and texts_alone else 1
    # What is painted of a cropped picture has the model's own size, not the picture's.
    sized_by = read.image if fields.padding_mask_crop is None else ()
    own = _own_size(bundle, task, read)
    settings = Settings(
        prompt=prompts * each,
        negative_prompt=negatives * each,
        num_inference_steps=steps,
        guidance_scale=scale,
        seed=check_seed(options.get("seed")),
        sampler=sampler,
        height=_side(bundle, "height", options.get("height"), sized_by, own),
        width=_side(bundle, "width", options.get("width"), sized_by, own),
        num_images_per_prompt=check_count(
            "num_images_per_prompt", _given(options.get("num_images_per_prompt"), 1), MAX_IMAGES
        ),
        task=task,
        strength=fields.strength,
        mask_blur=fields.mask_blur,
        padding_mask_crop=fields.padding_mask_crop,
        variation_seed=fields.variation_seed,
        variation_strength=fields.variation_strength,
        input_sha256=read.sha256,
        vae_tile=check_vae_tile(bundle, options.get("vae_tile")),
        guidance_rescale=guidance.guidance_rescale,
        guidance_interval=guidance.guidance_interval,
        guidance_embedded=embedded,
        perp_neg=guidance.perp_neg,
        negative_weight=guidance.negative_weight,
        prompt_syntax=syntax,
        long_prompts=check_long_prompts(options.get("long_prompts"), syntax),
        clip_skip=check_clip_skip(bundle, options.get("clip_skip")),
        embeddings_sha256=embeddings_sha256(read.given),
        noise_level=check_noise_level(task, options.get("noise_level")),
        **_settled(sampler, choice, plan),
    )
    begin = 0
    if settings.strength is not None:
        begin = check_entry(plan.sampler, plan.levels, settings)
    check_guided_calls(settings, len(plan.levels) - 1 - begin)
    check_readable(bundle, Texts.of(settings), read.given, settings.clip_skip, tokenizers)
    load_task(task).check(bundle, settings, read)
    return settings


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
    for name in NEEDED:
        bundle.graph(name)
    if "text_encoder" not in bundle.manifest.tokenizers:
        raise BundleError(f"{bundle.path} has no tokenizer for its text encoder. Export it again.")


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


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _default_sampler(bundle: Bundle) -> str:
    """The bundle's sampler, if its scheduler config is one that a sampler can stand for.

    Where no sampler follows the scheduler's class, export noted one that works with every schedule.
    It would give other pictures than the reference, so it isn't taken unasked.
    """
    config, name = bundle.scheduler_config, bundle.manifest.defaults.sampler
    if name in SAMPLERS and "_class_name" in config:
        default_sampler(config)
    return name


def _steps(choice: ScheduleChoice, asked: int | None, default: int) -> int:
    """How many steps are asked for; sigmas and timesteps that are given say it themselves."""
    given = len(choice.timesteps or ()) or len(choice.sigmas or (0,)) - 1
    steps = check_count("num_inference_steps", _given(asked, given or default), MAX_STEPS)
    if given:
        check_given_count("timesteps" if choice.timesteps else "sigmas", given, steps)
    return steps


class _Settled(TypedDict):
    schedule: str | None
    spacing: str | None
    sigmas: tuple[float, ...] | None
    timesteps: tuple[float, ...] | None
    sampler_options: dict[str, Scalar]


def _settled(sampler: str, choice: ScheduleChoice, plan: Plan) -> _Settled:
    """What was said of the schedule, with the scheduler config's word where nothing was."""
    rule = str(getattr(plan.sampler, "sigma_rule", "interpolated"))
    schedule = choice.schedule or ("plain" if rule == "interpolated" else rule)
    rows = options_of(sampler)
    # Some have the field for their base's sake, and can't be told a spacing.
    told = rows is None or "timestep_spacing" in rows
    spacing = getattr(plan.sampler, "timestep_spacing", None) if told else None
    said = {*SIGMA_FLAGS, "timestep_spacing"}  # which the two above say now
    given = choice.sigmas is not None or choice.timesteps is not None
    return {
        "schedule": None if given else schedule,
        "spacing": None if given or schedule == "ays" else spacing,
        "sigmas": None if choice.sigmas is None else tuple(choice.sigmas),
        "timesteps": None if choice.timesteps is None else tuple(choice.timesteps),
        "sampler_options": {k: v for k, v in choice.sampler_options.items() if k not in said},
    }


def _own_size(bundle: Bundle, task: str, inputs: ReadInputs) -> tuple[int, int] | None:
    """Height and width that an upscaling gives; None for other tasks."""
    if task == "upscaling":
        return upscaled_size(inputs.image[0], bundle.manifest.latents.vae_factor)
    return latent_upscaling.upscaled_size(bundle, inputs) if task == "latent-upscaling" else None


def _side(
    bundle: Bundle,
    name: Literal["height", "width"],
    given: int | None,
    pictures: Sequence[Read],
    own: tuple[int, int] | None,
) -> int:
    """What was asked, or the graphs were built for, or the picture's or the model's own."""
    manifest, built = bundle.manifest, built_side(bundle, name)
    factor, axis = manifest.latents.vae_factor, ("height", "width").index(name)
    if built is not None:
        default = built
    elif own is not None:
        default = own[axis]
    elif pictures and given is None:
        default = _whole_cells(pictures[0], axis, factor)
    else:
        default = getattr(manifest.defaults, name)
    return check_side(name, _given(given, default), factor, built)


def _whole_cells(picture: Read, axis: int, factor: int) -> int:
    """A picture's height (0) or width (1), down to whole latent cells."""
    size = size_of(picture)
    if size[axis] < factor:
        raise UsageError(
            f"an image of {size[1]}×{size[0]} pixels is smaller than a latent cell of {factor}; "
            "give a larger one, or height and width to which it is resized."
        )
    return floored(size[axis], factor)


def _check_timesteps(unet: Graph, sampler: str, timesteps: Sequence[float]) -> None:
    dtypes = [port.dtype for port in unet.inputs if port.role == "timestep"]
    if not dtypes or not dtypes[0].startswith("int"):
        return
    for timestep in timesteps:
        if not timestep.is_integer():
            raise UsageError(
                f"sampler {sampler!r} visits timestep {timestep:.2f} with these settings, but this "
                f"bundle's U-Net takes whole ones only; other samplers are "
                f"{', '.join(sorted(set(sampler_names()) - {sampler}))}."
            )
