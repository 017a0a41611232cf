"""Visual prompting's checkpoints -> a model folder: `python -m recipes.in_context.convert MAE VQGAN -o DIR`."""

from pathlib import Path

import click

from vii.errors import ViiError
from vii.methods.published_codes import read_published, save_published


@click.command()
@click.argument("mae", type=click.Path(path_type=Path))
@click.argument("vqgan", type=click.Path(path_type=Path))
@click.option("--heads", default=16, show_default=True, help="Of the encoder's attention.")
@click.option("--decoder-heads", default=16, show_default=True, help="Of the decoder's.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
def main(mae: Path, vqgan: Path, heads: int, decoder_heads: int, output: Path) -> None:
    """Write the authors' MAE checkpoint and taming-transformers' VQGAN in the stock libraries' layout.

    Only tensors are read of them; nothing else that a pickle may say is run.
    """
    try:
        save_published(read_published(mae), read_published(vqgan), output, heads=heads, decoder_heads=decoder_heads)
    except ViiError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}: now `vii transfer ... --method visual-prompting --model {output}`")


if __name__ == "__main__":
    main()
