"""Nodes that load a built-in model, or a file of the usual model folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..cascade_core.builtin import built_in
from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import COMPILE_NAMES, DTYPE_NAMES, KINDS, QUANTISED_NAMES, Kind
from ..cascade_core.wording import nearest_file
from ..runtime import host, model_folders
from . import inputs

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle


class Loader:
    """The choice of a model and its loading; a subclass says of which kind."""

    FILE_INPUT: ClassVar[str] = "model_name"  # which input names the file
    KIND: ClassVar[Kind]
    CATEGORY = "Stable Cascade/loaders"
    FUNCTION, REHEARSE = "load", "rehearse"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        kind = cls.KIND
        what = "file or diffusers folder (name/)" if model_folders.DIFFUSERS in kind.folders else "file"
        tooltip = (
            f"The {kind.name}: tiny (built-in), a small demonstration model that needs no download, or a {what} in the"
            f" model folders {', '.join(kind.folders)}. Of several models in one its own part is taken. All parts of a"
            " workflow must be of one family."
        )
        return {"required": {"model_name": (model_folders.offered(cls.choices()), {"tooltip": tooltip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, model_name: str | None = None) -> bool | str:
        """True, or where a missing file belongs; `model_name` is None where it is linked."""
        try:
            if model_name is not None:
                cls.path_of(model_name)
        except CascadeError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, model_name: str, **_: Any) -> str:
        """Times and sizes of all files of the model: training may write one again under its name."""
        states = (path.stat() for path in model_folders.belonging(cls.path_of(model_name)))
        return " ".join(f"{state.st_mtime_ns} {state.st_size}" for state in states)

    def load(self, model_name: str, dtype: str = "auto") -> tuple[Handle]:
        from ..cascade_core.files.load import load

        options = self._options(model_name, dtype)
        handle = load(self.KIND.id, self.path_of(model_name), placement=host.current().placement(), **options)
        if handle.remark:
            host.current().warn(f"Load {self.KIND.name}", handle.remark)
        return (handle,)

    def rehearse(self, model_name: str, dtype: str = "auto") -> tuple[Handle]:
        """The model as its header describes it: the models of a workflow need not all lie in memory at once."""
        from ..cascade_core.files.load import describe

        try:
            return (describe(self.KIND.id, self.path_of(model_name), **self._options(model_name, dtype)),)
        except CascadeError as error:  # a bad file does not make the workflow a bad one
            raise OSError(str(error)) from error

    def _options(self, model_name: str, dtype: str) -> dict[str, Any]:
        here = host.current()
        return {
            "name": model_name,
            "dtype": here.dtype(self.KIND.id) if dtype == "auto" else dtype,
            "device": here.device(),
            "tokenizers": here.tokenizer_folders(),
        }

    @classmethod
    def find(cls, model_name: object) -> Path | None:
        """The file or folder of this name, which comes from a workflow and may be anything; None if there is none."""
        return model_folders.find(cls.choices(), model_name) if isinstance(model_name, str) else None

    @classmethod
    def choices(cls) -> dict[str, Path]:
        return model_folders.first_wins([built_in(cls.KIND.id), host.current().model_files(cls.KIND.folders)])

    @classmethod
    def path_of(cls, model_name: str) -> Path:
        found = cls.find(model_name)
        if found is None:
            folder = host.current().model_folder(cls.KIND.folders[0])
            raise CascadeError(
                f"There is no {cls.KIND.name} {model_name!r:.200} in the model folders {', '.join(cls.KIND.folders)}"
                f"{nearest_file(model_name, cls.choices())}: put the file into {folder}{cls._command(model_name)},"
                " or choose another"
            )
        return found

    @classmethod
    def _command(cls, model_name: object) -> str:
        from ..cascade_core.files.published import where_to_get

        return where_to_get(model_folders.file_name(str(model_name)), cls.KIND.id)


class _StageLoader(Loader):
    """A loader that lets the precision of the weights be chosen."""

    DTYPES: ClassVar[tuple[str, ...]] = ("auto", *DTYPE_NAMES)
    DTYPE_TOOLTIP: ClassVar[str] = (
        "Precision of the weights. auto is what ComfyUI's precision options say; without them float32, and on a GPU"
        " bfloat16 for Stage B and C (float16 where the GPU cannot)."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = super().INPUT_TYPES()
        types["required"]["dtype"] = inputs.choice(cls.DTYPES, "auto", cls.DTYPE_TOOLTIP)
        return types


class _DiffusionLoader(_StageLoader):
    """A loader of a model that is evaluated in every step, which may be compiled for that."""

    DISPLAY_NAME: ClassVar[str]
    DTYPES = ("auto", *DTYPE_NAMES, *QUANTISED_NAMES)
    DTYPE_TOOLTIP = (
        f"{_StageLoader.DTYPE_TOOLTIP} int8, fp8 and int4 need half or a quarter of the memory: the large weights are"
        " rounded to 8 or 4 bits as they are loaded; int8 is nearest to the original. Weights that are quantised in the"
        " file stay so, whatever is chosen."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = (
            "How a step is computed. off: at once. blocks: torch compiles each kind of block in the first step, which"
            " takes minutes once and makes all steps faster, on a GPU; it keeps what it compiled. graphs: an NVIDIA"
            " GPU replays a step as it was recorded in the first one."
        )
        return {
            **super().INPUT_TYPES(),
            "optional": inputs.advanced({"compile": inputs.choice(COMPILE_NAMES, "off", tooltip)}),
        }

    def load(self, model_name: str, dtype: str = "auto", compile: str = "off") -> tuple[Handle]:
        (handle,) = super().load(model_name, dtype)
        how = host.current().compilation() if compile == "off" else compile
        if how != "off":
            self._tell_of_compiling(how, host.current().device().type)
            host.current().keep_whole(handle)
        return (replace(handle, compile=how),)

    def rehearse(self, model_name: str, dtype: str = "auto", compile: str = "off") -> tuple[Handle]:
        return super().rehearse(model_name, dtype)

    def _tell_of_compiling(self, how: str, device: str) -> None:
        warm_up = "takes up to minutes, in which it is compiled" if how == "blocks" else "is recorded"
        if how == "graphs" and device != "cuda":
            message = "compile graphs is for an NVIDIA GPU and does nothing here: set it to off"
            host.current().warn(self.DISPLAY_NAME, message)
        else:
            advice = "; on a CPU that pays for very many pictures alone: set it to off" if device == "cpu" else ""
            host.current().tell(self.DISPLAY_NAME, f"compile {how}: the first step {warm_up}{advice}")


class CascadeStageCLoader(_DiffusionLoader):
    KIND = KINDS["stage_c"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Stage C"
    DESCRIPTION = "Loads Stage C, the model that turns text into the small latent which decides what the picture shows."
    SEARCH_ALIASES = ("stable cascade", "prior", "checkpoint", "unet", "diffusion model")
    OUTPUT_TOOLTIPS = ("Stage C, for the Stage C sampler.",)


class CascadeStageBLoader(_DiffusionLoader):
    KIND = KINDS["stage_b"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Stage B"
    DESCRIPTION = "Loads Stage B, the diffusion decoder that works out Stage C's small latent into the details."
    SEARCH_ALIASES = ("stable cascade", "decoder", "checkpoint", "unet", "diffusion model")
    OUTPUT_TOOLTIPS = ("Stage B, for the Stage B sampler.",)


class CascadeStageALoader(_StageLoader):
    KIND = KINDS["stage_a"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Stage A"
    DESCRIPTION = "Loads Stage A, the autoencoder that turns Stage B's latent into pixels."
    SEARCH_ALIASES = ("stable cascade", "vae", "vqgan", "autoencoder")
    OUTPUT_TOOLTIPS = ("Stage A, for decoding.",)


class CascadeTextEncoderLoader(Loader):
    KIND = KINDS["text_encoder"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Text Encoder"
    DESCRIPTION = (
        "Loads the CLIP text encoder. A published one needs CLIP's tokenizer files: those beside it or in a folder"
        " `tokenizer` there (vocab.json and merges.txt, or tokenizer.json), those that `cascade download"
        " --text-encoder` fetched, else ComfyUI's own."
    )
    SEARCH_ALIASES = ("stable cascade", "clip", "clip g", "prompt")
    OUTPUT_TOOLTIPS = ("The text encoder, for prompts.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = (
            "Precision of the weights. auto is what ComfyUI's precision options say; without them float32. bfloat16"
            " takes half the memory and, on a CPU, less than half the time, and changes the picture slightly."
        )
        choice = inputs.choice(("auto", *DTYPE_NAMES), "auto", tooltip)
        return {**super().INPUT_TYPES(), "optional": inputs.advanced({"dtype": choice})}


class CascadeImageEncoderLoader(Loader):
    KIND = KINDS["image_encoder"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Image Encoder"
    DESCRIPTION = "Loads the CLIP image encoder, which lets Stage C vary a picture."
    SEARCH_ALIASES = ("stable cascade", "clip vision", "image variation")
    OUTPUT_TOOLTIPS = ("The image encoder, for image variation.",)


class CascadeEffnetLoader(Loader):
    KIND = KINDS["effnet"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Effnet"
    DESCRIPTION = "Loads the EfficientNet encoder, which turns a picture into a latent of Stage C."
    SEARCH_ALIASES = ("stable cascade", "efficientnet", "encoder", "vae", "img2img")
    OUTPUT_TOOLTIPS = ("The effnet, for encoding pictures.",)


class CascadePreviewerLoader(Loader):
    KIND = KINDS["previewer"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load Previewer"
    DESCRIPTION = "Loads the previewer, which shows roughly what a latent of Stage C will become, at once."
    SEARCH_ALIASES = ("stable cascade", "preview", "taesd", "vae")
    OUTPUT_TOOLTIPS = ("The previewer, for the Stage C sampler or for decoding a preview.",)


class CascadeControlNetLoader(Loader):
    KIND = KINDS["controlnet"]
    RETURN_TYPES, RETURN_NAMES = (KIND.socket,), (KIND.id,)
    DISPLAY_NAME = "Load ControlNet"
    DESCRIPTION = (
        "Loads a ControlNet, which steers Stage C by a hint: canny, inpainting, super-resolution or face identity. The"
        " published ones fit the 3.6B Stage C."
    )
    SEARCH_ALIASES = ("stable cascade", "controlnet", "canny", "inpainting", "super resolution", "identity")
    OUTPUT_TOOLTIPS = ("The ControlNet, for Apply ControlNet.",)


NODES = (
    CascadeStageCLoader,
    CascadeStageBLoader,
    CascadeStageALoader,
    CascadeTextEncoderLoader,
    CascadeImageEncoderLoader,
    CascadeEffnetLoader,
    CascadePreviewerLoader,
    CascadeControlNetLoader,
)
