"""Train the small models of the methods that are shown an example: `python -m recipes.in_context analogist ...`."""

from functools import partial
from pathlib import Path

import click

from recipes.embedded_model.config import load
from vii.errors import ViiError
from vii.files import make_folder
from vii.methods.agents import save_agent

from . import impromptu, inpainting, prompting
from .config import Config
from .data import make_groups

HERE = Path(__file__).parent


def analogist(config: Config, photos: Path, output: Path) -> None:
    """Groups of photos, then the inpainting UNet; the model lies in OUTPUT/analogist at the end."""
    groups = make_groups(photos, output / "groups", config.data, config.seed)
    unet = inpainting.train_inpainting(groups, config, output)
    inpainting.package(output / "analogist", unet, config.data.cell)


def visual_prompting(config: Config, photos: Path, output: Path) -> None:
    """Groups of photos, the VQ model, then the masked autoencoder; the model lies in OUTPUT/visual-prompting."""
    groups = make_groups(photos, output / "groups", config.data, config.seed)
    vq = prompting.train_codes(groups, config, output)
    mae = prompting.train_prompting(groups, vq, config, output)
    prompting.package(output / "visual-prompting", mae, vq)


def analogies(agent: str, name: str, config: Config, photos: Path, output: Path) -> None:
    """A discrete VAE where the agent has one, then one of Im-Promptu's agents, on scenes; no photo is looked at."""
    save_agent(output / name, impromptu.train_agent(impromptu.shape_of(agent, config), config, output))


METHODS = {
    "analogist": analogist,
    "visual-prompting": visual_prompting,
    "impromptu": partial(analogies, "object-centric", "impromptu"),
    "impromptu-patch": partial(analogies, "patch", "impromptu-patch"),
    "impromptu-monolithic": partial(analogies, "monolithic", "impromptu-monolithic"),
}


@click.command()
@click.argument("method", type=click.Choice([*METHODS]))
@click.option("--photos", required=True, type=click.Path(path_type=Path), help="Folder of photos to train on.")
@click.option("--config", default=HERE / "cpu.toml", show_default=True, type=click.Path(path_type=Path), help="TOML.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
def main(method: str, photos: Path, config: Path, output: Path) -> None:
    """Train the small model of METHOD; it lies in OUTPUT/METHOD at the end, for `--model`.

    Every stage keeps what it has made in OUTPUT: run the same command again to go on after an interruption.
    """
    try:
        make_folder(output)
        METHODS[method](load(config, Config()), photos, output)
    except ViiError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
