"""What `tests/fuzz.py` breaks input with: values, bytes, tags of pictures, tables, and a Hub that answers anything."""

import contextlib
import json
import os
import random
import struct
from collections.abc import Iterator
from typing import Any

from hub_server import Hub, Repo, _Handler

TEXTS = (
    *("", " ", "\x1b]0;owned\x07", "\x1b[31mred\x9b2J", "a\nb\rc", "\u202egnp.exe", "\udcff", "\x00", "夏 été 🧑‍🎨"),
    *("e\u0301" * 40, "x" * 70_000, "../../../../etc/passwd", "/dev/zero", "someone/model", "[/bold]", "{0}", "%s%n"),
    *("<script>alert(1)</script>", "- [x](javascript:1)", "---\nlicense: mit", "nan", "1e999", "9" * 5000, "-0", "con"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        0.5,
        1e-320,
        1e20,
        1e308,
        float("inf"),
        float("-inf"),
        float("nan"),
        2**31,
        2**63,
    ),
    *(2**70, -(2**70), 10**400, [], {}, [[]], {"": {}}, [1, "a", None], *TEXTS),
)
DEEP = "[" * 30_000


def broken_value(random: random.Random, value: Any, depth: int = 0) -> Any:
    """A value of JSON or TOML with one joint broken, at some depth."""
    if isinstance(value, dict) and value and depth < 4 and random.random() < 0.75:
        key, copy = random.choice(list(value)), dict(value)
        match random.randrange(8):
            case 0:
                del copy[key]
            case 1:
                copy[random.choice(TEXTS)[:300]] = random.choice(VALUES)
            case _:
                copy[key] = broken_value(random, value[key], depth + 1)
        return copy
    if isinstance(value, list) and value and depth < 4 and random.random() < 0.75:
        index = random.randrange(len(value))
        return [*value[:index], broken_value(random, value[index], depth + 1), *value[index + 1 :]]
    if isinstance(value, str) and random.random() < 0.4:
        with contextlib.suppress(ValueError, RecursionError):  # a text that is JSON itself
            return json.dumps(broken_value(random, json.loads(value), depth + 1))
        where = random.randrange(len(value) + 1)
        return value[:where] + random.choice(TEXTS) + value[where:]
    return random.choice(VALUES)


def broken_bytes(random: random.Random, data: bytes) -> bytes:
    """Bytes with some changed, left out, doubled or cut off."""
    copy = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        where, size = random.randrange(len(copy) + 1), random.choice((1, 2, 4, 16, 200))
        match random.randrange(5):
            case 0:
                del copy[where:]
            case 1:
                del copy[where : where + size]
            case 2:
                copy[where:where] = random.randbytes(size)
            case 3:
                copy[where:where] = copy[where : where + size]
            case _:
                copy[where : where + 1] = bytes([random.randrange(256)])
    return bytes(copy)


def broken_exif(random: random.Random) -> bytes:
    """A directory of tags whose counts, types and offsets may be anything; the orientation is among them."""
    tags = [(274, 3, 1, struct.pack("<HH", random.choice((1, 3, 6, 8, 9, 0, 65535)), 0))]
    for _ in range(random.randrange(5)):
        tags.append(
            (random.randrange(65536), random.randrange(16), random.choice((0, 1, 4, 2**31)), random.randbytes(4))
        )
    random.shuffle(tags)
    body = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    count = len(tags) if random.random() < 0.9 else random.randrange(65536)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + body + bytes(4)


def toml(content: dict[str, Any]) -> str:
    """Plain values as TOML: strings as JSON escapes them, tables for dictionaries."""

    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{json.dumps(str(key))} = {value(one)}" for key, one in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        if isinstance(item, float):
            return str(item)
        return '""' if item is None else json.dumps(item)

    with_digits = {key: item for key, item in content.items() if item is not None}
    return "".join(f"{json.dumps(str(key))} = {value(item)}\n" for key, item in with_digits.items())


@contextlib.contextmanager
def served(random: random.Random, edit: bytes) -> Iterator[str]:
    """A Hub on this machine that breaks its answers; gives the repository to ask for."""
    from huggingface_hub import constants

    class Broken(_Handler):
        def answer(self, status: int, body: Any = b"", **headers: str) -> Any:
            if random.random() < 0.6:
                match random.randrange(5):
                    case 0:
                        status = random.choice((200, 204, 301, 302, 304, 400, 401, 403, 404, 416, 429, 500, 503))
                    case 1 if not isinstance(body, bytes):
                        body = json.dumps(body).encode()[: random.randrange(40)]
                    case 2:
                        headers |= {
                            random.choice(("ETag", "X_Repo_Commit", "X_Linked_Size", "Location", "X_Error_Code")): ""
                        }
                    case 3:
                        headers |= {"X_Error_Message": "\x1b]0;owned\x07", "X_Error_Code": "EntryNotFound"}
                    case _ if not isinstance(body, bytes):
                        body = broken_value(random, body)
            return super().answer(status, body, **headers)

    hub = Hub()
    Broken.hub = hub
    hub.server.RequestHandlerClass = Broken
    hub.repos["ada/bands"] = repo = Repo()
    commit = repo.commit({"bands.safetensors": edit, "README.md": b"# Bands"})
    before = {
        name: getattr(constants, name) for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE", "HF_HUB_DISABLE_XET")
    }
    constants.ENDPOINT, constants.HF_HUB_DISABLE_XET = hub.url, True
    constants.HUGGINGFACE_CO_URL_TEMPLATE = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    try:
        with hub, open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield random.choice(("ada/bands", f"ada/bands@{commit}", "ada/bands@main", "ada/none"))
    finally:
        for name, value in before.items():
            setattr(constants, name, value)
