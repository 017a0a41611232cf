"""What an edit will take of this machine's memory, for `vii doctor --editor` and `--dry-run`."""

import inspect
from dataclasses import replace
from typing import Any

import click

from ..editors import DEFAULT_EDITOR, EDITORS
from ..editors.devices import memory_of, pick_device, pick_dtype
from ..editors.plan import Plan, plan_of, remedies
from ..editors.quantize import check_kind
from ..editors.stable_diffusion import BOTH
from ..errors import EditorError, UsageError, unknown_name
from .terminal import in_options, say, say_json

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what it will take of this machine's memory, and load nothing."
)


def say_plan(options: dict[str, Any], as_json: bool, *, batch: int = 4) -> None:
    """Tell what learning and applying an edit take, by the configuration of the model that the options name.

    Raises:
        EditorError: an editor that has no network to speak of, or whose configuration cannot be had.
    """
    name = options.get("editor") or DEFAULT_EDITOR
    if name not in EDITORS:
        raise EditorError(unknown_name("editor", name, EDITORS))
    model = options.get("model") or EDITORS[name].options.get("model")
    if not model or BOTH in EDITORS[name].model:
        raise UsageError(f"what the editor '{name}' takes is not known; it is told of editors with one network")
    device, quantize = pick_device(options.get("device")), options.get("quantize")
    check_kind(quantize)
    takes = inspect.signature(EDITORS[name].builder()).parameters
    plan = plan_of(
        model,
        options.get("resolution"),
        revision=options.get("revision"),
        batch=batch,
        dtype=pick_dtype(options.get("dtype"), device),
        quantize=quantize,
    )
    checkpointing = "checkpointing" in takes and options.get("checkpointing") is not False
    report = _report(plan, model, checkpointing, memory_of(device), str(device), set(takes))
    if as_json:
        say_json(report)
    else:
        _print(report, plan)


def _report(plan: Plan, model: str, checkpointing: bool, memory: int, device: str, known: set[str]) -> dict[str, Any]:
    add, takes = remedies(plan, memory, checkpointing, known)
    return {
        "model": model,
        "pixels": [plan.height, plan.width],
        "batch": plan.batch,
        "dtype": str(plan.network.dtype).removeprefix("torch."),
        "quantize": plan.quantize,
        "parameters": plan.parameters,
        "weights": plan.weights,
        "learning": {
            "bytes": plan.learning(checkpointing),
            **({"with_checkpointing": plan.learning(True)} if "checkpointing" in known else {}),
            **({"without_checkpointing": plan.learning(False)} if "checkpointing" in known else {}),
            "batch_1": replace(plan, batch=1).learning(checkpointing),
        },
        "applying": {
            "bytes": plan.applying(),
            **({"with_offload": plan.applying(offload=True)} if "offload" in known else {}),
        },
        "device": {"name": device, "bytes": memory},
        "to_fit": {"add": add, "bytes": takes, "fits": takes <= memory},
    }


def _print(report: dict[str, Any], plan: Plan) -> None:
    height, width = report["pixels"]
    quantised = f", linear layers {plan.quantize}" if plan.quantize else ""
    say(f"{report['model']} at {width} x {height} px, {report['dtype']}{quantised}")
    for part, count in report["parameters"].items():
        say(f"  {part:<16} {count / 1e9:6.2f} B parameters  {_gib(report['weights'][part])}")
    learning, applying, fit = report["learning"], report["applying"], report["to_fit"]
    say(f"  learning, batch of {report['batch']}: {_others(learning)}")
    say(f"  applying to a photo: {_others(applying)}")
    device = report["device"]
    told = f"{device['name']} has {_gib(device['bytes'])}: "
    if not fit["add"]:
        told += "learning fits" if fit["fits"] else "learning does not fit"
    else:
        command = click.get_current_context().command
        spelled = [in_options(f"`{one}`", command) for one in fit["add"]]
        options = " ".join(f"--set {one.strip('`')}" if one.startswith("`") else one for one in spelled)
        ends = "makes learning fit" if fit["fits"] else "is not enough either"
        told += f"learning does not fit; {options} {ends}, {_gib(fit['bytes'])}"
    say(f"  {told}")


def _others(sizes: dict[str, int]) -> str:
    others = [f"{name.replace('_', ' ')} {_gib(size)}" for name, size in sizes.items() if name != "bytes"]
    return _gib(sizes["bytes"]) + (f" ({', '.join(others)})" if others else "")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
