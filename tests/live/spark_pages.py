"""What SparkConnector and SparkMonitor show in JupyterLab, as a person sees and clicks it."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.live.person import Person

_CONNECT_MS = 120_000  # the first driver on a machine reads all of Spark
_JOB_MS = 150_000  # executors come when there is work


def connect(person: Person, cluster: str, *bundles: str, **settings: str) -> None:
    """Clicks on Connect in the panel at the right of a notebook.

    Args:
        person: Who has a notebook open.
        cluster: That the panel should name.
        bundles: Of settings, chosen first.
        settings: Added to them, by their names.
    """
    page = person.page
    panel = page.locator("#spark-connector")
    if not panel.is_visible():
        page.locator(".lm-TabBar-tab[data-id='spark-connector']").click()
    expect(panel.get_by_text(f"Cluster {cluster}")).to_be_visible()
    for bundle in bundles:
        panel.get_by_role("button", name=bundle).click()
    for name, value in settings.items():
        fields = panel.locator(".jp-SparkConnector-input-sparkopts input")
        fields.first.fill(name)
        fields.last.fill(value)
        panel.get_by_role("button", name="Add Configuration").click()
    person.picture("spark-connector")
    panel.get_by_role("button", name="Connect", exact=True).click()
    expect(panel.get_by_text(f"Connected to {cluster}")).to_be_visible(timeout=_CONNECT_MS)
    person.picture("spark-connected")


def monitor(cell: Locator) -> Locator:
    """What is shown in a cell that has jobs."""
    return cell.locator(".CellMonitor")


def watch(person: Person, cell: Locator, *, jobs: int, tasks: int) -> None:
    """Waits until the jobs of a cell are seen to run, and to have ended with so many tasks in the last one."""
    shown = monitor(cell)
    expect(shown.locator(".badgerunningcount")).to_have_text("1", timeout=_JOB_MS)
    person.picture("spark-monitor-running")
    expect(shown.locator(".badgecompletedcount")).to_have_text(str(jobs), timeout=_JOB_MS)
    expect(shown.locator(".jobrow .tdtasks .data").last).to_have_text(f"{tasks}/{tasks}")
    shown.locator(".tdstagebutton").last.click()
    expect(shown.locator(".stagerow .tdstagestatus").last).to_have_text("COMPLETED")
    person.picture("spark-monitor")
    shown.locator("[title='Event Timeline']").click()
    expect(shown.locator(".vis-timeline .vis-item").first).to_be_visible()
    person.picture("spark-monitor-timeline")
    shown.locator("[title='Tasks']").click()
    expect(shown.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    person.picture("spark-monitor-tasks")
    shown.locator("[title='Jobs']").click()


def drivers_page(person: Person) -> Page:
    """The driver's own page, in a window of its own, with the links that the panel and it have."""
    with person.page.context.expect_page() as opened:
        person.page.locator("#spark-connector a", has_text="Spark Web UI").click()
    page = opened.value
    expect(page.get_by_role("heading", name=re.compile("Spark Jobs"))).to_be_visible()
    page.get_by_role("link", name="Executors", exact=True).click()
    expect(page.get_by_role("heading", name="Executors")).to_be_visible()
    return page
