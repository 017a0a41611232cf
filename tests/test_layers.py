"""The structure of the package: who may import whom, what is public, and how little `import vii` loads."""

import ast
import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import vii
import vii.errors
from vii.editors import EDITORS

PACKAGE = Path(vii.__file__).parent
MOST_LINES = 300
# A module imports only from rows above its own; modules of one row do not know each other.
LAYERS = [
    {
        "errors",
        "background",
        "libraries",
        "light_imports",
        "plugins",
        "signals",
        "text",
        "space",
        "strict",
        "cores",
        "sampling_options",
    },
    {"paths", "storage", "settings", "preprocessing", "sizes", "editors.devices", "editors.memory", "editors.quantize"},
    {"files", "pictures.png", "pictures.colour", "pictures.metadata"},
    {"pictures.formats", "pictures.samples"},
    {"pictures.reading", "pictures.folders"},
    {"pictures.masks", "pictures.writing"},
    {"pictures"},
    {"images", "instruction", "diffusion", "losses", "clips.coding"},
    {"clips.files"},
    {"clips"},
    {"finish.tiles"},
    {"finish.terms", "finish.detail", "finish.lut"},
    {"finish.color", "finish.alignment", "finish.steady"},
    {"finish.finish"},
    {"finish.combining", "finish.fitting"},
    {"finish"},
    {"editor", "pairs", "region", "edit"},
    {"edit_format", "prompt_tower"},
    {"clip", "edit_file", "editors.fingerprint", "edit_list", "arrangement", "batching"},
    {"editors.loading", "editors.clip_text", "editors.levels", "library", "record"},
    {"application", "color_plan", "editors.shared"},
    {"editors.stable_diffusion"},
    {"editors.family", "editors.flow", "editors.flow_files", "editors.turns"},
    {"editors.qwen_text"},
    {"editors.flow_editor"},
    {"editors.toy", "editors.ip2p", "editors.controlnet", "editors.klein", "editors.kontext", "editors.qwen"},
    {"editors.sdxl", "editors.plan"},
    {"editors"},
    {"editors.trust", "runs.jobs"},
    {"runs", "runs.plans"},
    {"runs.clips"},
    {"captions.lavis_worker", "captions.blip", "captions.pez"},
    {"captions.lavis"},
    {"captions.starting"},
    {"captions"},
    {"inversion.settings"},
    {"inversion.examples", "inversion.start", "inversion.leaf", "inversion.finishing"},
    {"inversion.loop"},
    {"inversion"},
    {"inversion.recipes", "demo"},
    {"methods.method", "methods.grid", "methods.full_size", "methods.inpainting", "methods.masked_codes"}
    | {"methods.prompt_encoder"},
    {"methods.discrete_vae", "methods.slots"},
    {"methods.agents"},
    {"methods.impromptu"},
    {"methods.baselines", "methods.color_map", "methods.inversion", "methods.attention", "methods.describing"},
    {"methods.published_codes", "methods.visual_prompting"},
    {"methods.analogist", "methods.imagebrush"},
    {"methods"},
    {"rendering.sheets", "rendering.curve", "rendering.event_log"},
    {"runs.learning"},
    {"runs.tasks"},
    {"runs.cluster"},
    {"rendering.preview", "rendering.html"},
    {"rendering"},
    {"rendering.gallery"},
    {"interop", "interop.prompt_embeds", "interop.textual_inversion", "interop.luts"},
    {"interop.hub.card", "interop.hub.failures"},
    {"interop.hub.transfer"},
    {"interop.hub", "interop.comfyui"},
    {"doctor"},
    {"evaluation.metrics", "evaluation.synthetic.pixels"},
    {"evaluation.synthetic.family"},
    {
        "evaluation.synthetic.looks",
        "evaluation.synthetic.weather",
        "evaluation.synthetic.styles",
        "evaluation.synthetic.photographic",
    },
    {"evaluation.synthetic.edits"},
    {"evaluation.synthetic"},
    {"evaluation.tasks", "evaluation.methods", "evaluation.metric_table", "evaluation.table", "evaluation.scores"},
    {"evaluation.keys", "evaluation.task_files", "evaluation.metric_models"},
    {"evaluation.speed"},
    {"evaluation.benchmark", "evaluation.statistics"},
    {"evaluation.paper", "evaluation.report"},
    {"evaluation.page"},
    {"evaluation"},
    {"ui.bodies", "ui.log", "ui.session"},
    {"ui.intake"},
    {"ui.jobs", "ui.guard", "ui.uploads"},
    {"ui.studio"},
    {"ui.learning", "ui.shelf"},
    {"ui.request", "ui.fragments"},
    {"ui.applying"},
    {"ui.comparing", "ui.parts"},
    {"ui.learn_page", "ui.apply_page", "ui.library_page", "ui.compare_page"},
    {"ui.app"},
    {"ui.server", "ui"},
    {"service", "service.work", "service.client"},
    {"service.app"},
    {"service.server"},
    {"cli.terminal", "cli.progress"},
    {"cli.common", "cli.group", "cli.observe"},
    {"cli.photos", "cli.engine", "cli.plan", "cli.arguments"},
    {"cli.clips", "cli.served"},
    {"cli.learn_each"},
    {"cli.learn", "cli.apply", "cli.convert", "cli.bench", "cli.evaluate", "cli.show", "cli.lists"},
    {"cli.transfer", "cli.demo", "cli.library", "cli.gallery", "cli.doctor", "cli.hub", "cli.serve"},
    {"cli"},
    {"__init__", "__main__"},
]


@functools.cache
def modules():
    """Dotted name -> path of every module of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name, path):
    """Dotted names, within the package, that a module imports anywhere, inside functions too."""
    package = [] if path.parent == PACKAGE else list(path.parent.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            module = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = ".".join([*module, alias.name])
                target = full if full in modules() else ".".join(module)
                if target and target != name:
                    yield target


def test_a_module_imports_only_from_those_before_it():
    level = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    assert set(level) == set(modules()), "a new module needs its place in LAYERS"
    for name, path in modules().items():
        for target in imports_of(name, path):
            assert level[target] < level[name], f"vii.{name} imports vii.{target}, which is not below it"


def texts_of(path):
    """The string constants of a module, of one line each; those of several lines are docstrings."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return [node.value for node in nodes if isinstance(node.value, str) and "\n" not in node.value]


def test_only_editors_know_which_editor_they_are():
    """Nothing outside vii/editors asks for an editor by name, imports its module or speaks of it to the user."""
    # A section of the report; an attribute of diffusers' pipelines; options of commands.
    others = {"doctor": {"embedded"}, "cli.doctor": {"embedded"}, "interop.prompt_embeds": {"controlnet"}}
    others |= {"methods": {"embedded"}}  # what ships of methods is called so too
    others |= {
        "cli.common": {"controlnet"},
        "cli.plan": {"controlnet"},
        "sampling_options": {"controlnet"},
    }
    words = {"embedded", "toy"}  # of English too; these are looked for in quotes
    timed = {"evaluation.speed", "cli.bench"}  # against the UNet of that one
    for name, path in modules().items():
        if not name.startswith("editors"):
            forbidden = {*EDITORS} - others.get(name, set())
            imported = {*imports_of(name, path)} if name not in timed else set()
            assert not {f"editors.{editor}" for editor in EDITORS} & imported, name
            for text in texts_of(path):
                assert text not in forbidden, name
                assert not [editor for editor in forbidden if f"'{editor}'" in text], (name, text)
                assert not [editor for editor in forbidden - words if re.search(rf"\b{editor}\b", text)], (name, text)


def test_public_names_are_sorted_and_exist():
    assert vii.__all__ == sorted(vii.__all__)
    assert len(vii.__all__) <= 30
    known = vars(vii.errors).items()
    errors = {name for name, kind in known if isinstance(kind, type) and issubclass(kind, vii.ViiError)}
    assert errors <= set(vii.__all__)
    assert vii.__version__[0].isdigit()
    for name in vii.__all__:
        assert getattr(vii, name).__doc__ or name == "EDITORS"
    assert not hasattr(vii, "no_such_name")


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_edit_files_are_read_and_written_without_torch():
    code = """
import sys
import tempfile
from pathlib import Path
from vii.edit_file import describe_edit, load_edit, save_edit
path = next(Path("learned_instructions").glob("*.safetensors"))
save_edit(load_edit(path).labelled(title="other"), sys.argv[1])
assert describe_edit(load_edit(sys.argv[1]))["token_norm"] > 0
assert "torch" not in sys.modules and "diffusers" not in sys.modules
"""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, f"{folder}/x.safetensors"], check=True, cwd=PACKAGE.parent)


def test_import_vii_loads_nothing_heavy():
    code = "import sys, vii; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "numpy", "PIL", "click", "rich", "diffusers", "transformers"}.isdisjoint(loaded)


def test_modules_stay_small():
    assert not {name for name, path in modules().items() if len(path.read_text().splitlines()) > MOST_LINES}
