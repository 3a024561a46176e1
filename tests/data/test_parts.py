"""The CSV of true part boxes."""

import pytest

from visual_summaries.pipeline.data.catalog import CatalogError
from visual_summaries.pipeline.data.parts import read_parts


def test_part_boxes_are_checked_before_the_run(tmp_path) -> None:
    path = tmp_path / "parts.csv"
    path.write_text("file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,1,2,3,4,true\n")
    assert read_parts(path) == {"a/1.png": {("a", "head"): ([1.0, 2.0, 3.0, 4.0], True)}}
    path.write_text("file,class,part\n")
    with pytest.raises(CatalogError, match="lacks the columns x0, y0, x1, y1, discriminative"):
        read_parts(path)
    path.write_text("file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,1,2,?,4,true\n")
    with pytest.raises(CatalogError, match="line 2: "):
        read_parts(path)
    for box, problem in (("nan,2,3,4", "not finite"), ("3,2,1,4", "x0 < x1"), ("1,2,3", "8 fields")):
        path.write_text(f"file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,{box},true\n")
        with pytest.raises(CatalogError, match=f"part boxes .*line 2: .*{problem}"):
            read_parts(path)
    with pytest.raises(CatalogError, match="cannot read the part boxes"):
        read_parts(tmp_path / "missing.csv")
