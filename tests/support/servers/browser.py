"""The page of a split, and a real browser without a window: the system's Chromium, driven through its WebDriver."""

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support import ROOT

BROWSERS = ("chromium", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,900"
).split()
PATIENCE = 480  # seconds
KEYS = {"left": Keys.ARROW_LEFT, "right": Keys.ARROW_RIGHT}


def find(*names: str) -> str:
    """The first of these programs that is on the PATH."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError(f"{' or '.join(names)} is missing: apt-get install chromium chromium-driver, or make test")


@contextlib.contextmanager
def served(*words: object, env: dict[str, str] | None = None) -> Iterator[str]:
    """The address of the page that `make inspect` shows, in a process of its own; Ctrl-C must end it."""
    program = ROOT / "tools" / "browse.py"
    words = [sys.executable, program, "--port", "0", *words]
    process = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield process.stdout.readline().partition(" ")[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(480) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Chromium with a new profile in this folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = find(*BROWSERS)
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(find("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


class Viewer:
    """The page as somebody sees it who looks and presses keys."""

    def __init__(self, driver: webdriver.Chrome, url: str):
        self.driver = driver
        driver.get(url)
        self.until(lambda: self.cards())
        self.settle()

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, self.driver.find_element(By.TAG_NAME, "body").text
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until the chosen record is there, or why it is not."""
        self.until(lambda: self.driver.find_element(By.ID, "screen").get_attribute("aria-busy") == "false")

    def text(self, name: str) -> str:
        return self.driver.find_element(By.ID, name).text

    def cards(self) -> list[str]:
        """The keys of the records in the list."""
        script = "return [...document.querySelectorAll('.card')].map((card) => card.title)"
        return self.driver.execute_script(script)

    def card(self, key: str):
        return self.driver.find_element(By.CSS_SELECTOR, f'.card[title="{key}"]')

    def choose(self, key: str) -> None:
        self.card(key).click()
        self.until(lambda: self.text("key") == key)
        self.settle()

    def press(self, key: str) -> None:
        self.driver.find_element(By.TAG_NAME, "body").send_keys(KEYS.get(key, key))

    def click(self, name: str) -> None:
        self.driver.find_element(By.ID, name).click()

    def select(self, name: str, value: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"#{name} option[value={value}]").click()

    def pixels(self) -> np.ndarray:  # -> uint8 (H W 3)
        """What the player's canvas holds."""
        script = "return [...new Uint8Array(await (await new Promise((done) => canvas.toBlob(done))).arrayBuffer())]"
        data = self.driver.execute_script(script.replace("canvas.", "document.getElementById('canvas')."))
        return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))
