"""Scheduler configs of every class of diffusers: which run, which are refused, and how."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import diffusers.schedulers
import pytest
from diffusers.configuration_utils import ConfigMixin

from runtimes.denoiser import EDM_CLASSES
from runtimes.errors import UsageError
from runtimes.samplers import SAMPLERS, SCHEDULER_CLASSES, default_sampler, make_sampler
from runtimes.samplers.config_fields import FIELDS, check_fields
from runtimes.samplers.scheduler_classes import NEAREST, OTHER_LAWS, SAME_AS
from tests.runtimes.samplers.trajectories import REFERENCES, SD15


def scheduler_classes() -> dict[str, type]:
    """Every scheduler class of the installed diffusers, those it has put aside included."""
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(diffusers.schedulers.__path__, "diffusers.schedulers."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, ConfigMixin):
                found[name] = value
    del found["ConfigMixin"]
    return found


CLASSES = scheduler_classes()


def test_the_fields_are_those_of_the_installed_diffusers() -> None:
    reference = {
        name
        for scheduler in CLASSES.values()
        for name in inspect.signature(scheduler).parameters
        if name not in ("args", "kwargs")
    }
    assert sorted(FIELDS) == sorted(reference)


def test_every_class_runs_or_has_a_nearest() -> None:
    known = {*SCHEDULER_CLASSES, *SAME_AS, *NEAREST}
    assert known == set(CLASSES)
    assert not {*SCHEDULER_CLASSES, *SAME_AS} & set(NEAREST)


def test_a_class_with_anothers_trajectory_takes_its_sampler() -> None:
    assert default_sampler({**SD15, "_class_name": "DDIMParallelScheduler"}) == "ddim"


@pytest.mark.parametrize("class_name", NEAREST)
def test_a_class_that_no_sampler_follows_is_refused_with_the_nearest(class_name: str) -> None:
    with pytest.raises(UsageError) as raised:
        default_sampler({"_class_name": class_name})
    assert str(raised.value) == (
        f"scheduler_config.json: no sampler follows {class_name}; the nearest is "
        f"{NEAREST[class_name]!r}. Name a sampler: {', '.join(SAMPLERS)}."
    )


def test_the_default_sampler_follows_the_configs_class() -> None:
    for class_name, name in SCHEDULER_CLASSES.items():
        assert REFERENCES[name] == class_name
        assert name in SAMPLERS
        assert default_sampler({**SD15, "_class_name": class_name}) == name
    with pytest.raises(UsageError) as raised:
        default_sampler({**SD15, "_class_name": "PMDNScheduler"})
    known = ", ".join(sorted(SCHEDULER_CLASSES))
    assert str(raised.value) == (
        f"scheduler_config.json: unknown scheduler class 'PMDNScheduler'; known are {known}. "
        f"Did you mean 'PNDMScheduler'? Name a sampler: {', '.join(SAMPLERS)}."
    )


def test_an_unknown_field_is_refused_with_the_closest() -> None:
    config = {**SD15, "_anything": 1, "use_karas_sigmas": True}
    for refuse in (check_fields, default_sampler, lambda config: make_sampler("ddim", config)):
        with pytest.raises(UsageError) as raised:
            refuse(config)
        assert str(raised.value) == (
            "scheduler_config.json: unknown field 'use_karas_sigmas', which no scheduler of "
            "diffusers has (the closest is 'use_karras_sigmas'); correct it, or take it out"
        )


def test_fields_of_early_releases_pass_where_they_change_nothing() -> None:
    early = {**SD15, "tensor_format": "pt", "timestep_values": None, "predict_epsilon": True}
    assert make_sampler("ddim", early) == make_sampler("ddim", SD15)
    with pytest.raises(UsageError) as raised:
        make_sampler("ddim", {**early, "predict_epsilon": False})
    assert str(raised.value) == (
        "scheduler_config.json: predict_epsilon is False, of an early release of diffusers; "
        "known are True"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("_class_name", name) for name in OTHER_LAWS if name not in EDM_CLASSES),
        ("use_flow_sigmas", True),
        ("prediction_type", "flow_prediction"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"schedule": "karras"}], ids=["config", "schedule"])
def test_noise_of_another_law_is_refused_also_where_a_sampler_is_named(
    field: str, value: object, more: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as raised:
        make_sampler("euler", {**SD15, field: value}, **more)
    assert str(raised.value) == (
        f"scheduler_config.json: {field} is {value!r}, whose networks know noise of another law "
        "than sampler 'euler' and all others here give them; this bundle can't be run"
    )


@pytest.mark.parametrize("class_name", sorted(set(NEAREST) - set(OTHER_LAWS)))
def test_solvers_of_the_same_law_run_where_a_sampler_is_named(class_name: str) -> None:
    assert make_sampler("euler", {**SD15, "_class_name": class_name}) == make_sampler("euler", SD15)
