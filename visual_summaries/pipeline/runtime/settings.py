"""What the runtime must know of a run: its own settings, and as little as possible of its configuration and inputs."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from visual_summaries.pipeline.objects import ObjectError, ObjectPath, place


class Section(BaseModel):
    """A group of settings: typed, immutable, no unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Location(str):
    """A path or address as a person wrote it, which is how it is stored and compared.

    Attributes:
        path: where it leads; opens, lists and joins without being told how.

    Raises:
        ObjectError: as `place`; as a setting, a validation error of type "location", which repeats no credentials.
    """

    path: Path | ObjectPath

    def __new__(cls, written: str) -> "Location":
        location = super().__new__(cls, written)
        location.path = place(written)
        return location

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls._setting, core_schema.str_schema(min_length=1))

    @classmethod
    def _setting(cls, written: str) -> "Location":
        try:
            return cls(written)
        except ObjectError as error:
            raise PydanticCustomError("location", "{reason}", {"reason": str(error)}) from None


class RaySettings(Section):
    """Where and with how many workers; never changes a result."""

    address: str | None = Field(None, description="cluster address; default: this machine, loopback only")
    cpus: int | None = Field(
        None, ge=1, description="processors here, or that a growing cluster may come to; default: all there are"
    )
    gpus: float | None = Field(
        None, ge=0, description="GPUs to use, or that a growing cluster may come to; default: all there are"
    )
    explain_gpus: float = Field(1.0, ge=0, description="GPUs per worker of model stages, if there are any")
    memory_per_worker: float | None = Field(
        None, gt=0, description="GiB that Ray sets aside for a worker; default: none, processors alone are counted"
    )
    workers: int | None = Field(
        None, ge=1, description="workers, of those with a GPU and of those without; default: as many as fit"
    )
    attempts: int = Field(3, ge=1, description="tries of a unit whose worker dies before it is taken apart")
    unit_timeout: float = Field(
        3600.0,
        gt=0,
        description="seconds without progress after which a unit of work counts as hung; for a class of more than "
        "500 images times (images / 500)²",
    )


class RunSettings(Protocol):
    """The part of a run's configuration that the runtime reads; stages see the whole.

    Attributes:
        output: folder or address of tables and logs.
        seed: of everything random.
        error_tolerance: share of images that may be left out before the run fails; one of several always may, unless
            it is 0.
    """

    output: str
    seed: int
    error_tolerance: float

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The whole configuration, with `mode="json"` as JSON values."""
        ...


class Group(Protocol):
    """A class of what a run works on."""

    label: str


class RunInputs(Protocol):
    """What a run starts from, as far as planning needs it.

    Attributes:
        classes: in order; a stage goes through them one by one or takes them all.
        image_count: how many images (or what else is counted) the run has; `error_tolerance` is a share of them.
        missing: what to tell a person when there are none.
    """

    missing: str

    @property
    def classes(self) -> Sequence[Group]: ...

    @property
    def image_count(self) -> int: ...

    def identity(self, depends_on: Collection[str]) -> tuple[Any, ...]:
        """JSON values that change whenever something changes that a stage with this `Stage.depends_on` computes with.

        Raises:
            ValueError: a name that these inputs do not know.
        """
        ...

    def only(self, group: Group) -> "RunInputs":
        """The same with one class alone."""
        ...
