"""Node graphs on the standard library alone: workflow files, their validation, and their execution.

Which node classes exist is always an argument (`registry`, id -> class); nothing here knows one.
"""

from .calls import Ui
from .definition import Definition, Input, Registry, define
from .editor import set_widget
from .executor import Done, perform, run
from .plan import Cache, NodeFailure, Plan
from .prompt import Problem, Validation, validate
from .rehearsal import rehearse
from .shapes import is_object
from .wording import WorkflowError, list_choices, show, title_of, where
from .workflow import Prompt, Workflow, convert, read

__all__ = [
    "Cache",
    "Definition",
    "Done",
    "Input",
    "NodeFailure",
    "Plan",
    "Problem",
    "Prompt",
    "Registry",
    "Ui",
    "Validation",
    "Workflow",
    "WorkflowError",
    "convert",
    "define",
    "is_object",
    "list_choices",
    "perform",
    "read",
    "rehearse",
    "run",
    "set_widget",
    "show",
    "title_of",
    "validate",
    "where",
]
