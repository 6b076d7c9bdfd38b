"""What a newcomer meets first."""

from __future__ import annotations

from fake_server import Server
from playwright.sync_api import expect
from visits import Visit


def test_a_room_opens_as_the_run_is(visit: Visit, server: Server) -> None:
    """A room opens on what suits the run's nature, names its other fitting views in a row, and one click shows one whole."""
    server.training.nature = ["table", "plane", "classification"]
    page = visit.open(server.url)
    expect(page.get_by_text("Is it learning well?")).to_be_visible()
    expect(page.locator("main article")).to_have_count(2)
    for name in ("curves", "confusion"):
        expect(page.locator(f"[data-view={name}]")).to_be_in_viewport(ratio=1)
    also = page.get_by_role("navigation", name="More views of this room")
    expect(also.get_by_role("button")).to_have_text(["Findings", "Activations", "Weights", "Examples"])
    also.get_by_role("button", name="Weights").click()
    expect(page.locator("main article")).to_have_count(1)
    assert "view=weights" in page.url
    page.get_by_role("button", name="Keep Weights beside the room's first view").click()
    expect(page.locator("main article")).to_have_count(3)
    first, kept = page.locator("[data-view=curves]"), page.locator("[data-view=weights]")
    expect(kept).to_be_in_viewport(ratio=1)
    left, right = first.bounding_box() or {}, kept.bounding_box() or {}
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.get_by_role("button", name="Enlarge Weights").click()
    expect(page.get_by_role("button", name="Keep Weights beside the room's first view")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Arrange as it was").click()
    expect(page.locator("main article")).to_have_count(2)
    page.set_viewport_size({"width": 900, "height": 520})
    expect(page.locator(".below")).to_have_text("↓ more below: Confusion")
