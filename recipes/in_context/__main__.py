"""Train the small models of the methods that are shown an example: `python -m recipes.in_context analogist ...`."""

from functools import partial
from pathlib import Path

import click

from recipes.embedded_model.config import load
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import UsageError, ViiError
from vii.files import make_folder
from vii.methods.agents import save_agent

from . import codes, imagebrush, impromptu, inpainting, prompting
from .config import Config, Places
from .data import Groups, make_groups, trained_on

HERE = Path(__file__).parent
PATH = click.Path(path_type=Path)


def groups(config: Config, places: Places) -> Groups:
    """Groups of photos: what the methods learn from, of which each renders what is not there yet."""
    return make_groups(places.photos, places.groups, config.data, config.seed)


def analogist(config: Config, places: Places) -> None:
    """Groups of photos, then the inpainting UNet; the model lies in OUTPUT/analogist at the end."""
    shares = trained_on(places.output / "inpainting.json", places.embedded, inpainting.SHARED)
    data = inpainting.encode(groups(config, places), places.embedded, config)
    unet = inpainting.train_inpainting(data, config, places.output)
    inpainting.package(places.output / "analogist", unet, config.data.cell, shares)


def visual_prompting(config: Config, places: Places) -> None:
    """Groups of photos, the VQ model, then the masked autoencoder; the model lies in OUTPUT/visual-prompting."""
    data = prompting.make_canvases(groups(config, places), config)
    told, vq = codes.train_codes(prompting.parts_of(data, config), data.unseen(), config, places.output)
    mae = prompting.train_prompting(data, told, vq, config, places.output)
    prompting.package(places.output / "visual-prompting", mae, vq)


def image_brush(config: Config, places: Places) -> None:
    """Groups of photos, then the UNet and the visual prompt encoder; the model lies in OUTPUT/imagebrush at the end."""
    shares = trained_on(places.output / "imagebrush.json", places.embedded, imagebrush.SHARED)
    data = imagebrush.encode(groups(config, places), places.embedded, config)
    painter = imagebrush.train_imagebrush(data, config, places.output)
    imagebrush.package(places.output / "imagebrush", painter, config.data.cell, shares)


def analogies(name: str, config: Config, places: Places) -> None:
    """A discrete VAE where the agent has one, then one of Im-Promptu's agents; the model lies in OUTPUT/METHOD."""
    shape = impromptu.shape_of(DRAWN[name], config)
    save_agent(places.output / name, impromptu.train_agent(shape, config, places.output))


# Im-Promptu's agents, trained on scenes that are drawn.
DRAWN = {"impromptu": "object-centric", "impromptu-patch": "patch", "impromptu-monolithic": "monolithic"}
METHODS = {
    "groups": groups,
    "analogist": analogist,
    "visual-prompting": visual_prompting,
    "imagebrush": image_brush,
    **{name: partial(analogies, name) for name in DRAWN},
}


@click.command()
@click.argument("method", type=click.Choice([*METHODS]))
@click.option("--photos", type=PATH, help="Folder of photos to train on; Im-Promptu draws its own scenes.")
@click.option("--groups", type=PATH, help="Folder of what is rendered from them.  [default: OUTPUT/groups]")
@click.option("--embedded", default=EMBEDDED_MODEL, type=PATH, help="Embedded editor to train on instead of vii's.")
@click.option("--config", default=HERE / "cpu.toml", show_default=True, type=PATH, help="TOML.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder.")
def main(method: str, photos: Path | None, groups: Path | None, embedded: Path, config: Path, output: Path) -> None:
    """Train the small model of METHOD; it lies in OUTPUT/METHOD at the end, for `--model`.

    Every stage keeps what it has made in OUTPUT: run the same command again to go on after an interruption. With
    `groups` for METHOD nothing is trained, and what is trained on is rendered, for several methods at once.
    """
    try:
        if photos is None and method not in DRAWN:
            raise UsageError(f"{method} is trained on photos; name a folder of them with --photos")
        make_folder(output)
        METHODS[method](load(config, Config()), Places(photos or output, groups or output / "groups", embedded, output))
    except ViiError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
