"""The command line: parse, call the library, print. A command's module is imported when the command is called."""

import click

from ..cores import share_cores
from ..libraries import quiet_imports
from .group import Commands

# Before any command imports torch.
share_cores()
quiet_imports()

# name -> where it is, and the first sentence of its help; held by a test.
COMMANDS = {
    "apply": ("apply:apply", "Apply edits, words, or both to photos."),
    "bench": ("bench:bench", "Compare recipes and methods on photos never seen."),
    "captioner": ("lists:captioner", "Ways to find a starting text (vii learn --init)."),
    "demo": ("demo:demo", "Learn the shipped pair and apply it to the shipped photos."),
    "doctor": ("doctor:doctor", "Say what is installed, what it can run on and what is missing."),
    "editors": ("lists:editors", "List the editors that can be named."),
    "eval": ("evaluate:evaluate", "Learn from the example of FOLDER, apply to its photos, measure."),
    "export": ("convert:export", "Write an edit for other programs."),
    "gallery": ("gallery:gallery", "Show every edit of a folder on the same photos, as a page."),
    "import": ("convert:import_", "Make an edit file from a LUT, or a file of the paper's code."),
    "learn": ("learn:learn", "Learn an edit from a before/after pair and save it."),
    "library": ("library:library", "Keep edit files in one folder, in which they are found by name."),
    "methods": ("lists:methods", "List the methods of editing by example."),
    "pull": ("hub:pull", "Fetch an edit from the Hugging Face Hub."),
    "push": ("hub:push", "Upload edits to the Hugging Face Hub, with a card."),
    "recipes": ("lists:recipes", "List the recipes that can be named."),
    "serve": ("serve:serve", "Keep an editor loaded and edit the photos that come over HTTP."),
    "show": ("show:show", "Show what an edit file holds, or how a picture was made."),
    "transfer": ("transfer:transfer", "Give photos the edit that a pair shows, by any method."),
    "ui": ("serve:ui", "Learn, apply and keep edits on a page in the browser."),
}


@click.group(cls=Commands, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vii", prog_name="vii")
def main() -> None:
    """Edit images by example.

    Learn an edit from one before/after pair, keep it as a small file, apply it to any photo:

    \b
      vii learn before.png after.png -o watercolor.safetensors
      vii apply watercolor.safetensors photo.jpg -o painted.png
      vii apply watercolor.safetensors:0.7 photos/ -o painted/ --text "at night"
    """
