"""What every program is asked to draw, as JSON that programs without latedge's packages read.

Needs numpy alone: it is imported in the peers' environments too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Drawing:
    """A picture that is fully determined.

    Attributes:
        prompt: the text.
        negative_prompt: what guidance leads away from.
        num_inference_steps: of DDIM.
        guidance_scale: classifier-free guidance.
        height: in pixels.
        width: in pixels.
        seed: of the latents that every program starts from.
    """

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    seed: int


@dataclass(frozen=True)
class Job:
    """A drawing for one program.

    Attributes:
        folder: the model.
        library: what draws, where a script knows several.
        latents: file with unit normal noise, float32 [1, 4, h, w].
        picture: file for the result, float32 [H, W, 3] in [0, 1].
        drawing: what to draw.
    """

    folder: str
    library: str
    latents: str
    picture: str
    drawing: Drawing

    def write(self, path: Path) -> None:
        """Writes the job as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8", newline="\n")

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Job:
        """Reads the job in the file that a script's only argument names."""
        (name,) = arguments
        fields: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
        drawing = Drawing(**fields.pop("drawing"))
        return cls(drawing=drawing, **fields)

    def read_latents(self) -> NDArray[np.float32]:
        """The noise to start from."""
        return np.load(self.latents)

    def save(self, picture: NDArray[np.float32]) -> None:
        """Stores the picture."""
        np.save(self.picture, picture.astype(np.float32))
