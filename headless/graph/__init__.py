"""Node graphs on the standard library alone: workflow files, their validation, and their execution.

Which node classes exist is always an argument (`registry`, id -> class); nothing here knows one.
"""

from .calls import Ui
from .definition import Definition, Input, Registry, define, definitions
from .edits import set_widget
from .executor import Done, perform, run
from .object_info import read_object_info
from .plan import Cache, NodeFailure, Plan
from .prompt import Problem, Validation, validate
from .rehearsal import rehearse
from .shapes import is_object
from .wording import WorkflowError, list_choices, show, title_of, where
from .workflow import Prompt, Workflow, convert, parse, read

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
    "definitions",
    "is_object",
    "list_choices",
    "parse",
    "perform",
    "read",
    "read_object_info",
    "rehearse",
    "run",
    "set_widget",
    "show",
    "title_of",
    "validate",
    "where",
]
