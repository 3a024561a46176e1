"""The stage `summarize`: what becomes of clusters that lose their members."""

from visual_summaries.pipeline.stages.members import EVIDENCE
from visual_summaries.pipeline.stages.summarize import _summary


def test_a_cluster_may_lose_all_its_members_one_by_one() -> None:
    member = dict.fromkeys(("cluster", "proposal", "x0", "y0", "x1", "y1", "similarity", "drop", *EVIDENCE), 0) | {
        "image_id": "i",
        "source": "proposals",
        "cluster_ssim": 0.5,
        "class_ssim": 0.5,
        "kept": False,
        "reason": "100% of its SSIMs below the class's 0.500",
        "cluster_reason": "0 of 3 members left by SSIM, fewer than 3",
    }
    row = _summary("a", [member | {"rank": rank} for rank in range(3)], explained=5, seed=0)
    assert row["reason"] == "0 of 3 members left by SSIM, fewer than 3" and not row["kept"]
    assert (row["members"], row["members_before"], row["support"]) == (0, 3, 0)
