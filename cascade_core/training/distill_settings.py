"""The settings of a distillation. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CascadeError
from ..sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from .lora_settings import LoraSettings
from .setting import COMMAND, again, setting

TEACHERS = ("ddim", "dpmpp_2m", "heun", "uni_pc")  # samplers that add no noise: each place leads to one end
STUDENT = "lcm"  # the sampler that the result is made for


@dataclass(frozen=True)
class DistillSettings(LoraSettings):
    """The settings of distilling Stage C: those of the LoRA that is learned, of the teacher and of the student."""

    size: int = again(
        LoraSettings,
        "size",
        768,
        help="Side of the teacher's pictures as the effnet would see them, in pixels: 768 stands for pictures of 1024;"
        " 192 for the built-in models'.",
    )
    batch_size: int = again(LoraSettings, "batch_size", 16)
    schedule: str = again(LoraSettings, "schedule", "cosine")
    sample_cfg: float = again(
        LoraSettings, "sample_cfg", STAGE_C_DEFAULTS.cfg, help="Guidance of Stage C, whose latents Stage B learns on."
    )
    rank: int = again(LoraSettings, "rank", 16, help="How much the LoRA can hold; the file grows with it.")
    alpha: float = again(LoraSettings, "alpha", 16.0, help="The LoRA counts alpha / rank.")
    filters: tuple[str, ...] = again(
        LoraSettings,
        "filters",
        ("",),
        text="",
        help="Which weights get branches: those in modules whose name contains one of these, with commas between;"
        " empty: all.",
    )
    init: str = again(LoraSettings, "init", "down")
    learns: str = setting(
        "steps",
        "steps: where the teacher's way from each place ends, for few steps with one pass each. guidance: what the"
        " teacher's two passes say at each place, for as many steps with one pass each.",
        choices=("steps", "guidance"),
    )
    student_steps: int = setting(
        2,
        "Most steps that the result shall be good at; 1 and all that divide it come along. Fewer are learned better."
        " For guidance: as many as `teacher_steps`.",
        least=1,
        most=100,
    )
    teacher_steps: int = setting(
        STAGE_C_DEFAULTS.steps, "Steps of the teacher, a multiple of `student_steps`.", least=1, most=1000
    )
    teacher_cfg: float = setting(
        STAGE_C_DEFAULTS.cfg,
        "Guidance of the teacher, which the result then has without a second pass.",
        built_in=1.5,
        least=0.0,
        most=50.0,
        step=0.1,
        round=0.01,
    )
    teacher_sampler: str = setting(
        "ddim", "Sampler of the teacher, one that adds no noise; dpmpp_2m needs half as many steps.", choices=TEACHERS
    )
    shift: float = setting(
        STAGE_C_DEFAULTS.shift, "Shift of the teacher's times and of the student's.", least=0.01, most=100.0, step=0.1
    )
    count: int = setting(
        4096,
        "How many pictures the teacher draws before anything is learned, of the prompts in turn.",
        least=1,
        most=1_000_000,
    )
    matching: float = setting(
        0.0,
        "How much the student's pictures shall look likely to the teacher, beside being near its own: sharper, for"
        " three times the time a step.",
        least=0.0,
        most=100.0,
        step=0.1,
        round=0.001,
    )

    whole: bool = setting(
        False,
        "Train all weights of the student and write them as a model, among the choices of the stage's loader, instead"
        " of a LoRA: it can learn more, for 16 bytes more of each weight. Settings of LoRAs are the critic's then.",
        place=COMMAND,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher_steps % self.student_steps:
            raise CascadeError(
                f"teacher_steps: expected a multiple of student_steps, which is {self.student_steps}, found"
                f" {self.teacher_steps}: the student's times are some of the teacher's"
            )

    @property
    def teacher(self) -> SamplerSettings:
        return SamplerSettings(self.teacher_steps, self.teacher_cfg, self.shift, self.teacher_sampler)

    @property
    def student(self) -> SamplerSettings:
        return SamplerSettings(self.student_steps, 1.0, self.shift, STUDENT)


@dataclass(frozen=True)
class DistillStageBSettings(DistillSettings):
    """The same of distilling Stage B."""

    sample_cfg: float = again(DistillSettings, "sample_cfg", STAGE_C_DEFAULTS.cfg, built_in=1.5)
    teacher_steps: int = again(DistillSettings, "teacher_steps", STAGE_B_DEFAULTS.steps)
    teacher_cfg: float = again(DistillSettings, "teacher_cfg", STAGE_B_DEFAULTS.cfg, built_in=None)
    shift: float = again(DistillSettings, "shift", STAGE_B_DEFAULTS.shift)
