"""The published model files that a workflow names and that are not here, in one message with the command for all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ..cascade_core.files import published
from ..cascade_core.wording import nearest_file, size_in_words
from ..runtime import environment, host
from ..runtime.local import LocalHost
from . import graph, node_classes
from .requirements import File, files_of


def messages(checked: graph.Validation, nodes: node_classes.Nodes, *, anywhere: bool = False) -> list[str]:
    """All problems in words, one for each; of several published files that are missing one for all, at the end.

    What nobody published, or is a near miss of one that is here, keeps its own. anywhere: the command is one for a
    terminal in any folder.
    """
    problems = {problem.node: problem for problem in checked.problems if is_of_model_file(problem, nodes)}
    prompt = {node: checked.prompt[node] for node in checked.prompt if node in problems}
    absent = [file for file in files_of(prompt, {}, nodes) if can_be_had(file) and not _is_near(file, nodes, prompt)]
    if len({file.name for file in absent}) < 2:
        return [problem.message for problem in checked.problems]
    told = [problems[file.node] for file in absent]
    return [
        *(problem.message for problem in checked.problems if problem not in told),
        in_one(absent, anywhere=anywhere),
    ]


def is_of_model_file(problem: graph.Problem, nodes: node_classes.Nodes) -> bool:
    """Whether a problem is about the file of a loader."""
    loader = nodes.classes.get(problem.class_type or "")
    return problem.input is not None and problem.input == getattr(loader, "FILE_INPUT", None)


def has_stand_in(problem: graph.Problem, nodes: node_classes.Nodes) -> bool:
    """Whether a built-in model can stand in for the file that a problem is about; for a LoRA none can."""
    kind = getattr(nodes.classes.get(problem.class_type or ""), "KIND", None)
    return is_of_model_file(problem, nodes) and getattr(kind, "id", None) != "lora"


def can_be_had(file: File) -> bool:
    """Whether a file is missing, and published."""
    return not file.present and file.published is not None


@dataclass(frozen=True)
class Missing:
    """Published files that are not here: a line on how many and how large, their names, and what gets them."""

    line: str
    names: str
    commands: Sequence[str]
    from_anywhere: Sequence[str]  # the same for a terminal in any folder


def missing_of(files: Sequence[File]) -> Missing | None:
    """Which of the files are missing; None where none is that can be had.

    Files that are here, and those that nobody published, are passed over. The commands put files where this program
    looks.
    """
    found = {file.published: file for file in files if can_be_had(file)}
    missing = [file for file in found if file is not None]
    if not missing:
        return None
    names = ", ".join(f"{f.name}{f' ({f.kinds[0]})' if len(f.kinds) == 1 else ''}" for f in found.values())
    models, told = cast(LocalHost, host.current()).settings.models, published.commands_for(missing)
    folder = "" if models is None else f" --models {shlex.quote(str(models))}"
    commands = [f"{command}{folder}" for command in told]
    anywhere = [environment.from_anywhere([*shlex.split(command)[1:], *models_option()]) for command in told]
    files_are = "model files are" if len(missing) > 1 else "model file is"
    line = f"{len(missing)} {files_are} not here, {size_in_words(sum(file.size for file in missing))} in all"
    return Missing(line, names, commands, anywhere)


def models_option() -> list[str]:
    """The option with this program's folder of models; none where any folder's `cascade` finds it, in its ComfyUI."""
    local = cast(LocalHost, host.current())
    is_found = local.settings.models is None and local.comfyui_directory() is not None
    return [] if is_found else ["--models", str(local.models_directory().absolute())]


def in_one(files: Sequence[File], *, anywhere: bool = False) -> str:
    """The sentence about published files of which at least one is missing."""
    missing = missing_of(files)
    assert missing is not None
    commands = " and ".join(f"`{command}`" for command in (missing.from_anywhere if anywhere else missing.commands))
    return f"{missing.line}: {missing.names}: get them with {commands} or choose others"


def _is_near(file: File, nodes: node_classes.Nodes, prompt: graph.Prompt) -> bool:
    return bool(nearest_file(file.name, nodes.classes[prompt[file.node]["class_type"]].choices()))
