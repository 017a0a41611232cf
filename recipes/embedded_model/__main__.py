"""Train the embedded editor from a folder of photos: `python -m recipes.embedded_model --photos DIR`."""

import copy
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file

from vii.errors import ViiError
from vii.files import make_folder, replacing

from . import autoencoder, clip, data, unet
from .config import Config, load
from .package import package

HERE = Path(__file__).parent


@click.command()
@click.option("--photos", required=True, type=click.Path(path_type=Path), help="Folder of photos to train on.")
@click.option(
    "--held-out", required=True, type=click.Path(path_type=Path), help="Folder of photos that are only reported on."
)
@click.option("--config", default=HERE / "cpu.toml", show_default=True, type=click.Path(path_type=Path), help="TOML.")
@click.option(
    "-o", "--output", default="embedded-model", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@click.option("--name", default="vii-embedded-4", show_default=True, help="Name of the model.")
def main(photos: Path, held_out: Path, config: Path, output: Path, name: str) -> None:
    """Make the pairs, then train the CLIP, the UNet and the decoder; the model lies in OUTPUT/model at the end.

    Every stage keeps what it has made in OUTPUT: run the same command again to go on after an interruption.
    """
    try:
        run(load(config), photos, held_out, output, name)
    except ViiError as error:
        raise click.ClickException(str(error)) from None


def run(config: Config, photos: Path, held_out: Path, output: Path, name: str) -> None:
    """All stages, each taken up where it was left."""
    make_folder(output)
    pairs = data.make_pairs(photos, output / "pairs", config.data, config.seed)
    components = _components(output / "components.safetensors", pairs, config)
    vae = autoencoder.build(components, config.autoencoder.width, config.autoencoder.blocks)
    joint, tokenizer = clip.train_clip(pairs, config, output)
    untrained = unet.build(config.autoencoder.channels, config.clip.width, config.unet)
    # A whole model from here on: what is trained on its encoder and its CLIP need not wait for the rest.
    package(output / "model", name, *copy.deepcopy((vae, joint)), tokenizer, untrained)
    latents = unet.encode(pairs, components, vae.config.scaling_factor, joint, tokenizer, config)
    denoiser = unet.train_unet(latents, config, output)
    made = unet.answers(denoiser, latents, min(len(latents), config.autoencoder.answers))
    del latents
    photos_held_out = torch.stack(
        [data.to_tensor(data.center_crop(data.open_photo(path))) for path in data.photo_paths(held_out)]
    )
    vae = autoencoder.train_decoder(vae, pairs, photos_held_out, config, output, made)
    package(output / "model", name, vae, joint, tokenizer, denoiser)
    click.echo(f"{output / 'model'}: now `python -m recipes.embedded_model.evaluate {output / 'model'} ...`")


def _components(path: Path, pairs: data.Pairs, config: Config) -> autoencoder.Components:
    """The linear encoder, computed once: its signs are arbitrary, so a second computation could differ."""
    if not path.exists():
        settings = config.autoencoder
        fitted = autoencoder.fit_components(pairs, settings.channels, settings.whitening)
        with replacing(path) as temporary:
            save_file({"weight": fitted.weight, "bias": fitted.bias, "rms": torch.tensor(fitted.rms)}, temporary)
    saved = load_file(path)
    return autoencoder.Components(saved["weight"], saved["bias"], float(saved["rms"]))


if __name__ == "__main__":
    main()
