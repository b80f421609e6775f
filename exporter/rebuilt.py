"""A component of a bundle as torch rebuilds it: from its recipe, config and weights there."""

from __future__ import annotations

from exporter.components import component as load_component
from exporter.prepare import Prepared
from exporter.weights import read_header
from runtimes.bundle import Bundle, read_json
from runtimes.errors import BundleError
from runtimes.manifest import Recipe


def recipe_of(bundle: Bundle, name: str) -> Recipe:
    """A component's recipe, which portable bundles have of all.

    Raises:
        BundleError: there is no such component, or the bundle holds its engine's form alone.
    """
    bundle.graph(name)
    recipe = bundle.manifest.components[name].recipe
    if recipe is None:
        raise BundleError(
            f"{bundle.path} holds {name} in its engine's form alone; give the source or the "
            "portable bundle to compare with: --against."
        )
    return recipe


def rebuilt(bundle: Bundle, name: str) -> Prepared:
    """A component with the weights that lie in the bundle.

    Raises:
        BundleError: see `recipe_of`.
    """
    recipe = recipe_of(bundle, name)
    weights = read_header(bundle.path / recipe.weights)
    return Prepared(
        load_component(recipe.component), read_json(bundle.path / recipe.config), weights
    )
