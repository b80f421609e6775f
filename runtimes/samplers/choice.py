"""What a call says of the schedule, over the bundle's scheduler config."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from runtimes.errors import UsageError, unknown_name
from runtimes.options import ScheduleOptions
from runtimes.samplers.options import NOISE_FIELDS, SIGMA_FLAGS, Options
from runtimes.schedule import SIGMA_RULES, SPACINGS
from runtimes.schedules.given import check_sigmas, check_timesteps

SCHEDULES = ("plain", *SIGMA_RULES, "ays")
"""What `schedule` can be: no rule, a sigma rule, or the model family's aligned steps."""

Scalar = bool | int | float | str

# Fields of samplers that are said by other names: `schedule`, `sigmas`, `timesteps`.
NO_OPTIONS = ("sigma_rule", "sigmas", "timesteps", "round_timesteps")
# Where a sampler lacks what is asked for: the nearest that may have it.
NEAREST = {"ddim": "euler", "pndm": "dpmpp-2m", "ddpm": "euler-a"}


@dataclass(frozen=True)
class ScheduleChoice:
    """What is said of the schedule; None leaves it to the scheduler config.

    Attributes:
        schedule: a name of `SCHEDULES`.
        spacing: a name of `SPACINGS`.
        sigmas: of all steps, descending, and the one where the last step ends.
        timesteps: of all steps, descending.
        sampler_options: fields of the scheduler config, or of the sampler, by name.
    """

    schedule: str | None = None
    spacing: str | None = None
    sigmas: Sequence[float] | None = None
    timesteps: Sequence[float] | None = None
    sampler_options: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])

    @classmethod
    def of(cls, options: ScheduleOptions) -> ScheduleChoice:
        """What a call's options say of it."""
        return cls(
            options.get("schedule"),
            options.get("spacing"),
            options.get("sigmas"),
            options.get("timesteps"),
            options.get("sampler_options") or {},
        )

    @property
    def given(self) -> bool:
        """Whether the levels themselves are said, so that no rule makes them."""
        return self.sigmas is not None or self.timesteps is not None

    def checked(self) -> ScheduleChoice:
        """The same, its lists as tuples.

        Raises:
            UsageError: an unknown name, sigmas or timesteps that can't be, or two that conflict.
        """
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        if self.spacing is not None and self.spacing not in SPACINGS:
            raise unknown_name("spacing", self.spacing, SPACINGS)
        self._check_conflicts()
        return ScheduleChoice(
            self.schedule,
            self.spacing,
            None if self.sigmas is None else check_sigmas(self.sigmas),
            None if self.timesteps is None else check_timesteps(self.timesteps),
            _checked_options(self.sampler_options),
        )

    def _check_conflicts(self) -> None:
        given = [name for name in ("sigmas", "timesteps") if getattr(self, name) is not None]
        if len(given) == 2:
            raise UsageError("sigmas and timesteps are both given; give one of them")
        for axis in ("schedule", "spacing"):
            if given and getattr(self, axis) is not None:
                raise UsageError(
                    f"{axis} is {getattr(self, axis)!r}, and {given[0]} are given, which are a "
                    "schedule of their own; give one of them"
                )
        for axis, fields in (("schedule", SIGMA_FLAGS), ("spacing", ("timestep_spacing",))):
            said = [name for name in fields if name in self.sampler_options]
            if said and (given or getattr(self, axis) is not None):
                raise UsageError(
                    f"sampler option {said[0]!r} is given beside {given[0] if given else axis}; "
                    "give one of them"
                )
        if self.schedule == "ays" and self.spacing is not None:
            raise UsageError(
                f"spacing is {self.spacing!r}, and schedule 'ays' is a table of timesteps; "
                "give one of them"
            )


def _checked_options(options: object) -> dict[str, Scalar]:
    if not isinstance(options, Mapping):
        raise UsageError(
            f"sampler_options must be a mapping of names to values, not {type(options).__name__}"
        )
    found: dict[str, Scalar] = {}
    for name, value in options.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str) or not isinstance(value, Scalar):
            raise UsageError(
                f"sampler option {name!r} is {value!r}; it must be a number, text, true or false"
            )
        found[name] = value
    return found


def check_taken(
    sampler: str, rows: Options | None, taken: Collection[str], choice: ScheduleChoice
) -> None:
    """Refuses what a sampler can't be told.

    Args:
        sampler: its name.
        rows: its options; None for a third party's, which takes any field it has.
        taken: the fields of its constructor.
        choice: what `ScheduleChoice.checked` gave.

    Raises:
        UsageError: names what it lacks and the nearest sampler that may have it.
    """
    known = taken if rows is None else rows
    if choice.schedule not in (None, "plain") and "sigma_rule" not in taken:
        raise _lacking(sampler, f"no sigmas to follow schedule {choice.schedule!r}")
    # Some have the option for a config's sake, and a spacing of their own.
    if choice.spacing is not None and "timestep_spacing" not in {*known} & {*taken}:
        raise _lacking(sampler, f"no timesteps to follow spacing {choice.spacing!r}")
    if choice.sigmas is not None and "sigmas" not in taken:
        raise _lacking(sampler, "no sigmas that can be given")
    if choice.timesteps is not None and "timesteps" not in taken:
        raise _lacking(sampler, "no timesteps that can be given")
    own = sorted({*known, *taken, *NOISE_FIELDS} - set(NO_OPTIONS))
    for name in choice.sampler_options:
        if name not in own:
            close = difflib.get_close_matches(name, own, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"sampler {sampler!r} has no option {name!r}; it has {', '.join(own)}.{hint}"
            )


def _lacking(sampler: str, what: str) -> UsageError:
    near = NEAREST.get(sampler, "euler")
    return UsageError(f"sampler {sampler!r} has {what}; the nearest that has is {near!r}")


def over(config: Mapping[str, object], choice: ScheduleChoice) -> dict[str, object]:
    """A scheduler config with what a call says of the schedule on top.

    One sigma rule excludes the others, and given sigmas or timesteps exclude them all, so naming
    one lifts what the config says of another.
    """
    found = {**config, **choice.sampler_options}
    if choice.spacing is not None:
        found["timestep_spacing"] = choice.spacing
    if (choice.schedule, choice.sigmas, choice.timesteps) != (None, None, None):
        found |= dict.fromkeys((*SIGMA_FLAGS, "use_flow_sigmas"), False)
        found |= {flag: True for flag, rule in SIGMA_FLAGS.items() if rule == choice.schedule}
    return found
