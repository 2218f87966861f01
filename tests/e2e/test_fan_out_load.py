"""Many tasks against a server that keeps count itself: never more in flight than allowed, and a full room."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fan_out import counted, fanned_out, measure, team_of


async def test_many_tasks_never_exceed_the_cap_at_the_server_and_none_is_lost(tmp_path: Path) -> None:
    figures = await measure(150, 15, tmp_path)
    assert figures.successful == figures.calls_at_the_server == 150
    assert figures.most_in_flight == 15


async def test_what_the_waiting_room_has_no_place_for_is_busy_and_the_rest_is_done(tmp_path: Path) -> None:
    gauge = tmp_path / "gauge.json"
    team = team_of(gauge, tasks=60, cap=60, running=2, queued=4)
    once = team.limits.model_copy(update={"tool_attempts": 1})
    report, _ = await fanned_out(team.model_copy(update={"limits": once}), tmp_path, 60)
    assert report.output is not None
    successful, failed = report.output["successful"], report.output["failed"]
    assert counted(gauge) == {"most": 2, "calls": len(successful)}
    assert len(successful) >= 6 and len(successful) + len(failed) == 60
    assert {part["error"]["code"] for part in failed} == {"busy"}
    assert all("slow is busy" in part["error"]["message"] for part in failed)
