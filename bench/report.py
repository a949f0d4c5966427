"""Results on disk: one JSON file per measurement, and bench/results/README.md with the tables of the newest of each."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.environment import RESULTS, machine

Row = dict[str, Any]
Targets = list[tuple[str, float | None, str, float, float]]


def save(name: str, data: Row) -> None:
    """Write `<date>-<name>.json` and the README anew."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    body = {"name": name, "measured_at": now.isoformat(timespec="seconds"), "machine": machine(), "data": data}
    (RESULTS / f"{now:%Y-%m-%d}-{name}.json").write_text(json.dumps(body, indent=1) + "\n")
    (RESULTS / "README.md").write_text(render())


def newest() -> dict[str, Row]:
    """The newest result of each measurement."""
    found: dict[str, Row] = {}
    for path in sorted(RESULTS.glob("*.json")):
        body = json.loads(path.read_text())
        if body["name"] not in found or found[body["name"]]["measured_at"] <= body["measured_at"]:
            found[body["name"]] = body
    return found


def render() -> str:
    """The README of the results."""
    results = newest()
    lines = ["# Results", "", "Written by `make bench`; what is measured and how: [bench/README.md](../README.md).", ""]
    targets = _targets({name: body["data"] for name, body in results.items()})
    if targets:
        lines += ["## Our ratios", "", *_target_table(targets), ""]
    for name, body in results.items():
        described = ", ".join(f"{key} {value}" for key, value in body["machine"].items())
        lines += [f"## {TITLES.get(name, name)}", "", f"{body['measured_at']}; {described}.", ""]
        lines += [*TABLES.get(name, _generic)(body["data"]), ""]
    return "\n".join(lines)


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """A Markdown table; numbers are grouped by thousands."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _book(data: Row) -> list[str]:
    head = [
        "job",
        "records/s",
        "CPU s per million",
        "broker CPU s per million",
        "peak RSS MiB",
        "start s",
        "right",
        "runs",
    ]
    rows = [
        [
            f"{m['peer']} ({m['version']})" + (", cut" if m["cut"] else ""),
            float(m["records_per_s"]),
            m["cpu_s_per_million"],
            m["broker_cpu_s_per_million"],
            float(m["rss_peak_mib"]),
            m["start_s"],
            m["right"],
            m["runs"],
        ]
        for m in data["medians"]
    ]
    note = (
        f"{data['records']:,} records of {data['bytes_each']:.0f} B, {data['markets']} markets, "
        f"{data['quotes']:,} quotes. `right`: number of quotes and final best prices equal those the input implies "
        "(cut jobs: on a shorter input)."
    )
    return [*table(head, rows), "", note]


def _latency(data: Row) -> list[str]:
    head = ["frames/s", "path", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "samples"]
    return table(
        head, [[r["rate"], r["path"], r["p50"], r["p99"], r["p999"], r["max"], r["samples"]] for r in data["rows"]]
    )


def _generic(data: Row) -> list[str]:
    note = ["", data["note"]] if data.get("note") else []
    return [*_generic_rows(data["rows"]), *note]


def _generic_rows(rows: list[Row]) -> list[str]:
    head = list(rows[0]) if rows else ["nothing"]
    return table(head, [[row.get(name) for name in head] for row in rows])


def _sinks(data: Row) -> list[str]:
    lines = _generic(data)
    if data.get("together"):
        lines += [
            "",
            "All three and the book agent at once, draining one backlog:",
            "",
            *_generic_rows(data["together"]),
        ]
    if data.get("bytes"):
        lines += [
            "",
            "On disk, recorded windows (TB a year at 1,000 of them a second):",
            "",
            *_generic_rows(data["bytes"]),
        ]
    return lines


TITLES = {
    "book": "The book job, side by side",
    "latency": "Latency: frame sent by the simulator to quote_update read by a consumer",
    "restore": "Cold restore of a changelog",
    "growth": "Cost and memory by number of markets",
    "producer": "Market producer: socket to acked in Kafka",
    "sinks": "Sinks beside the bare ceiling of their store",
    "persist": "Postgres: quote published to quote readable",
    "fills": "Fills remembered: speed, disk, memory, restart",
    "rest": "A quiet machine: the whole stack while little happens",
    "soak": "Soak",
}
TABLES: dict[str, Callable[[Row], list[str]]] = {"book": _book, "latency": _latency, "sinks": _sinks}


def _targets(data: dict[str, Row]) -> Targets:
    """(measure, our ratio, direction, must, goal) of every target that the results at hand allow."""
    rows: Targets = []
    if "book" in data:
        rows += _book_targets({m["peer"].split(",")[0].split(" (")[0]: m for m in data["book"]["medians"]})
    if "latency" in data:
        p99 = {(r["rate"], r["path"]): r["p99"] for r in data["latency"]["rows"]}
        bare = p99.get((5_000, "bare Kafka"))
        quote = p99.get((5_000, "frame to quote"))
        rows.append(("frame -> quote p99 at 5,000/s against bare Kafka", _ratio(quote, bare), "<=", 3, 1.5))
    for name in ("restore", "growth", "producer", "sinks", "persist", "rest"):
        rows += [tuple(t) for t in data.get(name, {}).get("targets", [])]
    return rows


def _book_targets(by_peer: dict[str, Row]) -> Targets:
    ours = by_peer.get("kalshi-streams", {})
    streams, quix = by_peer.get("Kafka Streams", {}), by_peer.get("Quix Streams", {})
    stock = by_peer.get("stock faust-streaming", {})

    def against(peer: Row, field: str) -> float | None:
        return _ratio(ours.get(field), peer.get(field))

    return [
        ("book job, records/s against Kafka Streams", against(streams, "records_per_s"), ">=", 0.6, 1.0),
        ("against Quix Streams", against(quix, "records_per_s"), ">=", 5, 8),
        ("against stock faust-streaming", against(stock, "records_per_s"), ">=", 60, 100),
        ("CPU per record against Kafka Streams", against(streams, "cpu_s_per_million"), "<=", 1.3, 0.8),
        ("peak RSS against Kafka Streams", against(streams, "rss_peak_mib"), "<=", 1.0, 0.7),
    ]


def _ratio(ours: float | None, other: float | None) -> float | None:
    return round(ours / other, 2) if ours is not None and other else None


def _target_table(targets: Targets) -> list[str]:
    rows = []
    for what, ratio, direction, must, goal in targets:
        if ratio is None:
            verdict = "not measured"
        elif _meets(ratio, direction, goal):
            verdict = "goal"
        else:
            verdict = "must" if _meets(ratio, direction, must) else "MISSED"
        rows.append([what, ratio, f"{direction} {must:g}", f"{direction} {goal:g}", verdict])
    return table(["measure", "ours", "must", "goal", "reached"], rows)


def _meets(ratio: float, direction: str, bound: float) -> bool:
    return ratio >= bound if direction == ">=" else ratio <= bound
