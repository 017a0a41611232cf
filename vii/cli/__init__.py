"""The command line: parse, call the library, print. Heavy modules are imported by the command that needs them."""

import click

from .apply import apply
from .bench import bench
from .captioner import captioner
from .common import OneLineErrors
from .convert import export, import_
from .doctor import doctor
from .evaluate import evaluate
from .gallery import gallery
from .hub import pull, push
from .learn import demo, learn
from .library import library
from .lists import editors, methods, recipes, show
from .transfer import transfer
from .ui import ui


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vii", prog_name="vii")
def main() -> None:
    """Edit images by example.

    Learn an edit from one before/after pair, keep it as a small file, apply it to any photo:

    \b
      vii learn before.png after.png -o watercolor.safetensors
      vii apply watercolor.safetensors photo.jpg -o painted.png
      vii apply watercolor.safetensors:0.7 photos/ -o painted/ --text "at night"
    """


for command in (
    learn,
    apply,
    show,
    demo,
    ui,
    bench,
    evaluate,
    transfer,
    editors,
    methods,
    recipes,
    gallery,
    library,
    doctor,
    import_,
    export,
    push,
    pull,
    captioner,
):
    main.add_command(command)
