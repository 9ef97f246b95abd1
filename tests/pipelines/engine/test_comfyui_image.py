"""Control images reach the VAE and CLIP as in real ComfyUI: its recorded inputs of the transformer, bit for bit."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from parity.case.load import DEMO
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.engine.engine import Engine
from pipelines.engine.images import first_frame
from pipelines.engine.stages import Trace
from pipelines.media.control_image import from_bytes
from pipelines.recipe import ClipImage, Conditioning, ControlImage, Precision, Recipe, Resize
from tests.pipelines.engine.test_engine import encoders_hash
from tests.support.paths import DATA

COMFYUI = Resize("bilinear_no_antialias", "center")
CONTROL = DEMO / "jobs" / "shapes_i2v" / "ctrl.png"


@pytest.fixture(scope="module")
def own_engine() -> Engine:
    return Engine("cpu")


def recipe(job: str, model: str, clip_image: ClipImage, **changes: Any) -> Recipe:
    """A preview in one step, its image prepared by ComfyUI."""
    read = read_job(DEMO / "jobs" / job / "config.yaml")
    base = preview_recipe(read, 0, model=find_model(model), toolkit="0.12.26")
    fields: dict[str, Any] = {
        "obstacles": (),
        "precision": Precision("float32", "kept"),
        "steps": 1,
        "resize": COMFYUI,
        "clip_image": clip_image,
        "text_encoding": "comfyui",
    }
    return dataclasses.replace(base, **fields | changes)


def shapes(clip_image: ClipImage = "original_stretched", **changes: Any) -> Recipe:
    return recipe("shapes_i2v", "wan21_i2v_14b", clip_image, **changes)


def inputs(engine: Engine, recipe: Recipe) -> dict[str, npt.NDArray[np.float32]]:
    """What the transformer is given: `image` (CLIP) and `image_latents` (mask and latents), each without its batch."""
    trace = Trace()
    engine.denoise(recipe, trace=trace)
    return {name: tensor[0].float().numpy() for name, tensor in trace.conditioning.items()}


def recorded(graph: str, name: str) -> npt.NDArray[np.float32]:
    with np.load(DATA / "comfyui" / graph / "float32" / "latents.npz") as data:
        values: npt.NDArray[np.float32] = data[name]
    assert np.array_equal(values[0], values[1])  # with guidance, both passes are given the same
    first: npt.NDArray[np.float32] = values[0]
    return first


def png(picture: Image.Image, **how: Any) -> ControlImage:
    written = io.BytesIO()
    picture.save(written, "PNG", **how)
    return from_bytes(written.getvalue(), "control.png")


@pytest.mark.draws
def test_wan21(own_engine: Engine) -> None:
    """CLIP sees the original stretched, the VAE its centre, which diffusers multiplies by 1 / std: one unit away."""
    ours = inputs(own_engine, shapes())
    assert np.array_equal(ours["image"], recorded("i2v-euler-normal-3", "clip_fea"))
    latents = recorded("i2v-euler-normal-3", "c_concat")
    assert np.array_equal(ours["image_latents"][:4], latents[:4])
    assert np.abs(ours["image_latents"] - latents).max() < 5e-7


@pytest.mark.draws
def test_wan22(own_engine: Engine) -> None:
    mode = Conditioning(latents="mode", rounded=False)
    ours = inputs(own_engine, recipe("wan22_i2v", "wan22_14b_i2v", "original_stretched", conditioning=mode))
    assert np.abs(ours["image_latents"] - recorded("wan22-i2v-20-10", "c_concat")).max() < 5e-7
    assert "image" not in ours


@pytest.mark.draws
def test_center_of_an_image_of_the_videos_size(own_engine: Engine) -> None:
    """`i2v-exact-size`, whose image was the demo's, resized as the trainer does."""
    resized = png(Image.open(CONTROL).convert("RGB").resize((96, 64), Image.Resampling.LANCZOS))
    ours = inputs(own_engine, shapes("original_center", control_image=resized))
    assert np.array_equal(ours["image"], recorded("i2v-exact-size", "clip_fea"))


@pytest.mark.draws
def test_clip_sees_three_images(own_engine: Engine) -> None:
    """Each is another, whatever was encoded before, and CLIP is put back afterwards."""
    own_engine.forget()
    before = inputs(own_engine, shapes("resized"))["image"]
    weights = encoders_hash(own_engine)
    seen = [inputs(own_engine, shapes(name))["image"] for name in ("original_center", "original_stretched")]
    own_engine.forget()
    assert inputs(own_engine, shapes("resized"))["image"].tobytes() == before.tobytes()
    assert encoders_hash(own_engine) == weights
    assert len({values.tobytes() for values in (before, *seen)}) == 3


@pytest.mark.parametrize(("size", "video", "kept"), [((512, 400), (96, 64), (0, 29)), ((400, 512), (64, 96), (29, 0))])
def test_crop(size: tuple[int, int], video: tuple[int, int], kept: tuple[int, int]) -> None:
    """`rules.json`: of 512x400, ComfyUI cuts 29 rows from both sides for 96x64. They are white here."""
    x, y = kept
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels[y : size[1] - y, x : size[0] - x] = 0
    assert not first_frame(png(Image.fromarray(pixels)), COMFYUI, *video)[1].any()
    pixels[y, x] = 255
    assert first_frame(png(Image.fromarray(pixels)), COMFYUI, size[0] - 2 * x, size[1] - 2 * y)[1].max() == 1


def test_no_pixel_is_rounded_for_the_vae() -> None:
    """Half-way between black and white lies 0.5, which 8 bit does not have."""
    black_white = png(Image.fromarray(np.array([[[0] * 3, [255] * 3]], np.uint8)))
    picture, pixels = first_frame(black_white, Resize("bilinear_no_antialias", "stretch"), 3, 1)
    assert pixels[0, 0, 0].tolist() == [0.0, 0.5, 1.0]
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 128, 255]


def test_exif_orientation_is_applied_for_comfyui_alone() -> None:
    picture = Image.fromarray(np.array([[[0] * 3, [255] * 3]] * 2, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = png(picture, exif=exif.tobytes())
    turned = np.asarray(first_frame(image, COMFYUI, 2, 2)[0])
    assert np.array_equal(turned, np.asarray(picture)[::-1, ::-1])
    assert np.array_equal(np.asarray(first_frame(image, Resize("nearest"), 2, 2)[0]), np.asarray(picture))
