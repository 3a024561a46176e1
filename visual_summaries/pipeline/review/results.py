"""The studies' results as a table for a terminal."""

from math import isnan

from rich.table import Table

from visual_summaries.pipeline.evaluate.ratings import Estimate, StudyResults


def results_table(results: StudyResults) -> Table:
    """Figures with their intervals, chance and numbers of answers."""
    table = Table(title=f"Answers of {results.raters} {'rater' if results.raters == 1 else 'raters'}")
    table.add_column("figure")
    for name in ("value", "95 % interval", "by chance", "over"):
        table.add_column(name, justify="right")

    def row(
        name: str, estimate: Estimate, chance: float, nouns: tuple[str, str], scale: float = 1, unit: str = ""
    ) -> None:
        ends = [_figure(scale * end, unit) for end in (estimate.low, estimate.high)]
        interval = "–" if isnan(estimate.low) else " … ".join(ends)
        over = f"{estimate.count:,} {nouns[estimate.count != 1]}"
        table.add_row(name, _figure(scale * estimate.value, unit), interval, _figure(scale * chance, unit), over)

    answers = ("answer", "answers")
    row("agreement μ_U (0: all agree)", results.mean_agreement, results.chance_agreement, ("summary", "summaries"))
    row("human faith", results.faith, results.chance_faith, answers, 100, " %")
    for name, estimate in results.faith_by_pool.items():
        row(f"  distractors: {name}", estimate, float("nan"), answers, 100, " %")
    row("interpretability index (0–6)", results.index, float("nan"), answers)
    return table


def _figure(value: float, unit: str) -> str:
    if isnan(value):
        return "–"
    return f"{value:.0f}{unit}" if unit else f"{value:.2f}"
