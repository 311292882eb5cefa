"""Takes the pictures of the README after `make demo`: run `PYTHONPATH=tests python -m browser.pictures`."""

from __future__ import annotations

from pathlib import Path

from browser import chromium
from browser.study import REPOSITORY, Study
from playwright.sync_api import sync_playwright

from flows import servers

IMAGES = REPOSITORY / "docs" / "images"
MODEL = ("oeu", 0)
"""Method and seed of the model whose page is shown."""

TIDY = """
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
localStorage.setItem('_mlflow_model_registry_promo_modal_dismissed_v1', 'true');
"""
"""What MLflow remembers of a person who closed its assistant and its advertisement of the registry."""


def take(study: Study) -> None:
    """Write `report.png` and `mlflow-model.png`.

    Raises:
        ValueError: no browser is installed.
    """
    path = chromium.find()
    if path is None:
        raise ValueError(chromium.MISSING)
    connection = study.store.connection
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1200, "height": 1500}, color_scheme="light")
        page.add_init_script(TIDY)
        page.goto((study.root / "report" / "index.html").as_uri())
        page.screenshot(path=IMAGES / "report.png")
        page.set_viewport_size({"width": 1440, "height": 860})
        page.goto(f"{study.mlflow}/{connection.model_url(study.model_of(*MODEL).model_id)}")
        page.get_by_text("Average gap to retraining").wait_for()
        page.screenshot(path=IMAGES / "mlflow-model.png")
        browser.close()


if __name__ == "__main__":
    urls = {state.name: state.url for state in servers.status(Path.cwd())}
    take(Study(Path.cwd(), urls["mlflow"], urls["prefect"]))
