"""The measured values: rounds of every subject in every case, their medians, spreads and ratios."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import machine


@dataclass(frozen=True)
class Series:
    """One value per round, all of one unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, base: Series) -> Series:
        """This in units of `base`, round by round: neighbours in time share the machine's mood."""
        return Series(tuple(mine / theirs for mine, theirs in zip(self.values, base.values, strict=False) if theirs))

    def text(self, suffix: str = "") -> str:
        """`median (min-max)`."""
        low, high = min(self.values), max(self.values)
        return f"{short(self.median)}{suffix} ({short(low)}-{short(high)})"


def short(value: float) -> str:
    """Three significant digits, thousands apart: `0.0123`, `1.23`, `12.3`, `12,345`."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}"


@dataclass
class Results:
    """All series of a run. A subject that could not take part stands in `absent` with the reason."""

    benchmark: str
    unit: str
    machine: dict[str, str] = field(default_factory=machine.describe)
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    series: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, subject: str, case: str, value: float) -> None:
        self.series.setdefault((subject, case), []).append(value)

    def note(self, text: str) -> None:
        """A remark for the footer."""
        self.notes.append(text)

    def get(self, subject: str, case: str) -> Series | None:
        values = self.series.get((subject, case))
        return Series(tuple(values)) if values else None

    def drop(self, subject: str, reason: str) -> None:
        """`subject` failed: its values go, the reason stays."""
        self.absent[subject] = reason
        self.series = {key: values for key, values in self.series.items() if key[0] != subject}

    def save(self, path: str) -> None:
        rows = [{"subject": subject, "case": case, "values": v} for (subject, case), v in self.series.items()]
        Path(path).write_text(json.dumps({**asdict(self), "series": rows}, indent=1) + "\n")


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(header))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = [cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


def print_comparison(
    results: Results,
    title: str,
    columns: dict[str, str],
    *,
    subjects: Sequence[str],
    base: str,
    value: Callable[[Series], str] = Series.text,
) -> None:
    """One row per subject with its values, and under it the ratio to `base`. `columns`: case -> heading."""
    rows: list[list[str]] = []
    for subject in subjects:
        cells = [results.get(subject, case) for case in columns]
        if not any(cells):
            continue
        rows.append([subject, *(value(cell) if cell else "-" for cell in cells)])
        bases = [results.get(base, case) for case in columns]
        if subject != base and any(bases):
            ratios = [a.over(b).text("x") if a and b else "-" for a, b in zip(cells, bases, strict=True)]
            rows.append([f"  in units of {base}", *ratios])
    print_table(title, ["", *columns.values()], rows)


def print_footer(results: Results) -> None:
    """Remarks, who is missing and why, versions and machine, so that a pasted table says what it compared."""
    print()
    for note in results.notes:
        print(note)
    for name, reason in results.absent.items():
        print(f"not measured: {name}: {reason}")
    if results.versions:
        print("versions: " + ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items())))
    print("machine: " + ", ".join(f"{name} {value}" for name, value in results.machine.items()))
