# ruff: noqa: F401
# pyright: reportUnusedImport=false
"""Node graphs on the standard library alone: workflow files, their validation, and their execution.

Which node classes exist is always an argument (`classes`, id -> class); nothing here knows one.
"""

from .calls import Ui
from .definition import RUNS_HERE, Classes, Definition, Definitions, Input, define, definitions, read_object_info
from .edits import UNLINKED, Change, set_widget, set_widgets
from .execution import Done, execute, rehearse
from .plan import Cache, NodeFailure, Plan
from .prompt import Problem, Prompt, link_of, locate
from .unfolding import inputs_of, put
from .validation import Validation, check_form, malformed, validate
from .wording import WorkflowError, is_list, is_object, list_choices, names_of, nearest, show, title_of, where
from .workflow import Picture, Workflow, accept, convert
