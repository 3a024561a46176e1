"""The same photographs as people keep them: tar shards of three layouts, Parquet of two."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet


def files_of(folder: Path) -> list[Path]:
    """Photographs of a folder of class folders, in order."""
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def add(archive: tarfile.TarFile, name: str, content: bytes, **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def tar_bytes(members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members:
            add(archive, name, content)
    return file.getvalue()


def members_of(files: Sequence[Path], layout: str, classes: Sequence[str] = ()) -> list[tuple[str, bytes]]:
    """Names and contents of members of a tar file: `folders`, `cls` (names), `index` (numbers), `json`; without folders
    no two files may have the same name."""
    members = []
    for file in files:
        label, content = file.parent.name, file.read_bytes()
        if layout == "folders":
            members.append((f"./{label}/{file.name}", content))
            continue
        said = {"cls": label, "index": str(classes.index(label)) if classes else ""}.get(layout)
        document = json.dumps({"label": label, "width": 3}).encode()
        beside = (f"{file.stem}.json", document) if layout == "json" else (f"{file.stem}.cls", said.encode())
        members += [(file.name, content), beside]
    return members


def parquet_bytes(files: Sequence[Path], layout: str, group: int = 3) -> bytes:
    """A Parquet file: `datasets` (structs, integer labels named in the schema), `text` (structs, text), or `plain`."""
    contents, labels = [file.read_bytes() for file in files], [file.parent.name for file in files]
    if layout == "plain":
        table = pa.table({"picture": contents, "class": labels})
    else:
        table = pa.table({"image": [{"bytes": one, "path": f.name} for one, f in zip(contents, files, strict=True)]})
        table = table.append_column("label", [labels])
    if layout == "datasets":
        names = sorted(set(labels))
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.set_column(1, "label", pa.array([names.index(label) for label in labels], pa.int64()))
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, row_group_size=group)
    return file.getvalue()


def write_shards(folder: Path, packed: Sequence[bytes], suffix: str) -> Path:
    folder.mkdir(parents=True)
    for number, content in enumerate(packed):
        (folder / f"train-{number:05d}{suffix}").write_bytes(content)
    return folder
