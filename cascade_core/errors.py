"""The one exception that a person is meant to read, what too little memory looks like, and a value withheld."""

from errno import ENOMEM


class CascadeError(ValueError):
    """A file, a graph or a setting that cannot be used.

    Its message says which file or input, what was expected, what was found and what to do.
    """


class Withheld:
    """In place of a node's output that is not there yet: whatever takes it does not run, and that is no error."""


_OUT_OF_MEMORY = (  # texts of torch and of what it calls, on any device; it raises plain RuntimeErrors with them
    "out of memory",  # CUDA, XPU, MPS
    "can't allocate memory",  # the CPU's allocator
    "cannot allocate memory",
    "not enough memory",  # on Windows
    "unable to allocate",  # NumPy
    "failed to allocate",  # onnxruntime, MPS
    "failed to map segment",  # of a library, by the system's loader
    "invalid buffer size",  # MPS, of one tensor that is larger than Metal allows
    "out_of_device_memory",
    "out_of_host_memory",  # level zero, below XPU
    "alloc_failed",  # cuBLAS
    "bad_alloc",
    "bad allocation",  # C++, here and on Windows
    "could not create a primitive\n",  # oneDNN, at the end of a text: of one that it has not, it says more
    "can't start new thread",  # Python, whose threads want stacks
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too little, by its class or by its words."""
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    return says_out_of_memory(type(error).__name__, str(error)) or isinstance(error, MemoryError)


def says_out_of_memory(class_name: str, text: str) -> bool:
    """As `is_out_of_memory`, of an error of which only its class's name and its text are known."""
    if class_name in ("OutOfMemoryError", "MemoryError"):  # the first is torch's
        return True
    return class_name.endswith("Error") and any(words in f"{text.lower()}\n" for words in _OUT_OF_MEMORY)
