"""A dry run looks: files, a sample of photographs, classes, annotations; and says what it found before any cost."""

import shutil
from pathlib import Path

import pytest

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.commands import dry_run, looks
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry


@pytest.fixture
def own_photographs(demo_folder, tmp_path) -> Path:  # noqa: ANN001
    shutil.copytree(demo_folder, tmp_path / "photographs")
    return tmp_path / "photographs"


@pytest.fixture(autouse=True)
def nothing_is_timed(monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setattr(dry_run, "measure_costs", lambda config, inputs: dry_run.Costs(1, 1, 1))


def planned(capsys, folder: Path, *settings: str) -> tuple[int, str]:  # noqa: ANN001
    status = main(["--dry-run", "--model", "demo", "--output", str(folder / "out"), *settings])
    said = capsys.readouterr()
    assert "Traceback" not in said.err and not (folder / "out").exists()
    return status, said.out + said.err


def test_what_is_right_is_said(own_photographs, tmp_path, capsys) -> None:  # noqa: ANN001
    labels = sorted(path.name for path in own_photographs.iterdir())
    (tmp_path / "boxes.csv").write_text(f"file,x0,y0,x1,y1\n{labels[0]}/000.png,1,2,30,40\nelsewhere/1.jpg,1,2,3,4\n")
    status, said = planned(capsys, tmp_path, "--images", str(own_photographs), f"data.boxes={tmp_path / 'boxes.csv'}")
    assert status == 0
    assert "Classes: 2 labels for 2 of the network's 9: 2 by name." in said
    assert "1 of 2 boxes are of photographs of this run, on 1 of its 14; the others are of elsewhere/1.jpg." in said
    assert "All 14 files are there." in said
    assert "Looked at 14 photographs of 2 classes: all can be read." in said


def test_photographs_that_cannot_be_read_are_named(own_photographs, tmp_path, capsys) -> None:  # noqa: ANN001
    broken = sorted(own_photographs.rglob("*.png"))[0]
    broken.write_bytes(b"no photograph")
    status, said = planned(capsys, tmp_path, "--images", str(own_photographs))
    assert status == 0
    assert f"1 of 14 photographs of 2 classes that were looked at cannot be read:\n  {broken}: " in said
    for file in own_photographs.rglob("*.png"):
        file.write_bytes(b"no photograph")
    status, said = planned(capsys, tmp_path, "--images", str(own_photographs))
    assert status == 2 and "none of 14 photographs of 2 classes that were looked at can be read:\n  /" in said
    assert "… and 9 more" in said


def test_files_that_are_not_there_are_counted(own_photographs, tmp_path, capsys) -> None:  # noqa: ANN001
    files = [path.relative_to(tmp_path) for path in sorted(own_photographs.rglob("*.png"))]
    rows = [f"{file},{file.parent.name}" for file in (*files, Path("photographs/none/1.png"))]
    rows[-1] = rows[-1].replace(",none", f",{files[0].parent.name}")
    windows = [row.replace("/", "\\") for row in rows]
    (tmp_path / "list.csv").write_text("\n".join(["uri,label", *windows]))
    status, said = planned(capsys, tmp_path, "--manifest", str(tmp_path / "list.csv"))
    assert status == 0
    assert f"1 of 15 files are not there, such as {own_photographs}/none/1.png" in said
    (tmp_path / "list.csv").write_text("\n".join(["uri,label", *(row.replace("photo", "foto") for row in rows)]))
    status, said = planned(capsys, tmp_path, "--manifest", str(tmp_path / "list.csv"))
    assert status == 2 and f"none of 15 files is there, such as {tmp_path}/fotographs/" in said


def test_the_sample_is_of_all_classes_and_spread_within_them() -> None:
    def classes(*sizes: int) -> list[CatalogClass]:
        return [
            CatalogClass(f"{n}", n, tuple(CatalogEntry(f"{n}/{at}", f"{n}", n, "fit") for at in range(size)))
            for n, size in enumerate(sizes)
        ]

    chosen = looks.sample(classes(100, 0, 3, 100))
    assert [sum(one.label == label for one in chosen) for label in "0123"] == [7, 0, 3, 6]
    assert [one.uri for one in chosen if one.label == "0"] == [f"0/{at}" for at in (0, 14, 28, 42, 57, 71, 85)]
    chosen = looks.sample(classes(*[5] * 1000))
    assert len({one.label for one in chosen}) == len(chosen) == looks.SAMPLED
    assert {int(one.label) // 50 for one in chosen} == set(range(20))


def test_a_look_that_is_added_is_looked_at(own_photographs, tmp_path, capsys, monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setattr(looks, "LOOKS", (lambda config, inputs: iter([f"{inputs.image_count} in [bold]all[/bold]"]),))
    status, said = planned(capsys, tmp_path, "--images", str(own_photographs))
    assert status == 0 and "14 in [bold]all[/bold]" in said
