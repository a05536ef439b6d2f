"""The log of a run for people: losses as lines of JSON and as a curve, samples, TensorBoard where installed, wandb."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..errors import CascadeError
from ..files.atomic import durable
from ..reading import parse_json, read_text
from .loop import Progress

CURVE, CURVE_LINES, SAMPLES = "curve.png", "curve.jsonl", "samples"
CURVE_SIZE = HEIGHT, WIDTH = 420, 900  # pixels
MARGIN, LINES = 60, 4
NO_LOSSES = ("step", "rate", "validation", "seconds")
LARGEST = 1e300  # of a loss, a rate or a step
RAW, SMOOTH, INK, GRID = "#c8d4ea", "#1f4e9c", "#222222", "#e6e6e6"


class RunLog:
    """The log in a run's folder; lines of steps that will be taken again are removed.

    `odd` counts lines that a run did not write; they are removed, too.
    """

    def __init__(self, folder: Path, done: int, told: Mapping[str, Any] | None = None) -> None:
        """told: the settings, for a run of wandb; None for none. It stays on this machine: `wandb sync` sends it."""
        self.folder = folder
        lines, self.odd = read_lines(folder / CURVE_LINES)
        self.lines = [line for line in lines if line["step"] <= done]
        with durable(folder / CURVE_LINES) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        self._board = _board(folder / "tensorboard", done)
        self._wandb: Any = None if told is None else import_module("wandb")
        # One that goes on is a run of its own in the same group: offline, wandb cannot take up an old one.
        own: dict[str, Any] = {"mode": "offline", "dir": str(folder), "group": folder.name, "config": dict(told or {})}
        self._run = None if self._wandb is None else self._wandb.init(project="cascade", **own)

    def add(self, progress: Progress, **more: float) -> None:
        """A line for a step; more: numbers that are no losses."""
        line = {"step": progress.step, "rate": progress.rate, **progress.losses, **more}
        self.lines.append(line)
        with (self.folder / CURVE_LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in progress.losses.items():
                self._board.add_scalar(f"loss/{name}", value, progress.step)
            for name, value in {"rate": progress.rate, **more}.items():
                self._board.add_scalar(name, value, progress.step)
        if self._run is not None:
            losses = {f"loss/{name}": value for name, value in progress.losses.items()}
            self._run.log({**losses, "rate": progress.rate, **more}, step=progress.step)

    def save_samples(self, step: int, pictures: Sequence[Tensor]) -> list[Path]:
        """Write sample pictures (3, H, W) of a step; returns their files."""
        paths = [self.folder / SAMPLES / f"{step:06}-{number}.png" for number in range(len(pictures))]
        for number, (path, picture) in enumerate(zip(paths, pictures, strict=True)):
            levels = picture.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            with durable(path) as temporary:
                Image.fromarray(levels).save(temporary, format="PNG")
            if self._board is not None:
                self._board.add_image(f"sample/{number}", picture.numpy(), step)
            if self._run is not None:
                self._run.log({f"sample/{number}": self._wandb.Image(str(path))}, step=step)
        return paths

    def save_curve(self) -> None:
        """Write the curve of the loss as a picture."""
        with durable(self.folder / CURVE) as temporary:
            draw_curve(self.lines).save(temporary, format="PNG")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()


def draw_curve(lines: Sequence[Mapping[str, float]]) -> Image.Image:
    """The sum of the losses over the steps, each and smoothed, on a logarithmic scale."""
    if not lines:
        return Image.new("RGB", (WIDTH, HEIGHT), "white")
    steps = [line["step"] for line in lines]
    logs = [math.log10(max(_total(line), 1e-12)) for line in lines]
    smooth = [logs[0]]
    weight = min(1.0, max(0.02, 20 / len(logs)))
    for value in logs[1:]:
        smooth.append(smooth[-1] + weight * (value - smooth[-1]))
    ranked = sorted(logs)
    low, high = ranked[len(ranked) // 200], ranked[-1 - len(ranked) // 200]
    low, high = (low - 0.05, high + 0.05) if high - low < 0.1 else (low, high)
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)

    def across(step: float) -> float:
        return MARGIN + (step - steps[0]) / max(steps[-1] - steps[0], 1) * (WIDTH - 2 * MARGIN)

    def down(value: float) -> float:
        return HEIGHT - MARGIN - (min(max(value, low), high) - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    for part in range(LINES + 1):
        value = low + (high - low) * part / LINES
        pen.line([(MARGIN, down(value)), (WIDTH - MARGIN, down(value))], fill=GRID)
        pen.text((8, down(value) - 6), f"{10**value:.3g}", fill=INK)
        step = steps[0] + (steps[-1] - steps[0]) * part / LINES
        pen.text((across(step) - 12, HEIGHT - MARGIN + 8), f"{step:.0f}", fill=INK)
    for values, color, width in ((logs, RAW, 1), (smooth, SMOOTH, 3)):
        points = [(across(step), down(value)) for step, value in zip(steps, values, strict=True)]
        pen.line(points if len(points) > 1 else points * 2, fill=color, width=width)
    pen.text((MARGIN, 16), f"loss {10 ** smooth[-1]:.4g} at step {steps[-1]:.0f}", fill=INK)
    return picture


def _total(line: Mapping[str, float]) -> float:
    return sum(value for name, value in line.items() if name not in NO_LOSSES)


def read_lines(path: Path) -> tuple[list[dict[str, float]], int]:
    """The losses in a log, and how many lines there are none; the last may be half written, and does not count.

    CascadeError for a file that cannot be read as a text.
    """
    try:
        texts = read_text(path).splitlines()
    except FileNotFoundError:
        return [], 0
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(f"{path}, the losses of a training, cannot be read ({why}): delete it") from error
    found = [_line(text) for text in texts]
    return [line for line in found if line is not None], sum(line is None for line in found[:-1])


def _line(text: str) -> dict[str, float] | None:
    """A line of numbers by their names, as `RunLog.add` writes it; None for another."""
    try:
        line = parse_json(text)
    except ValueError:
        return None
    if not isinstance(line, dict) or not {"step", "rate"} <= cast(dict[str, Any], line).keys():
        return None
    values = cast(dict[str, Any], line)
    return values if all(type(value) in (int, float) and abs(value) <= LARGEST for value in values.values()) else None


def _board(folder: Path, done: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
    return writer(str(folder), purge_step=done + 1)
