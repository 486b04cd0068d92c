"""The manifests as kustomize renders them, with secrets made up for the test."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import DEPLOY, Ran, accepted, run
from tests.evidence import SIGNING_KEY

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = ("local", "production")
PASSWORD = "n0tAsecret"

Manifest = Mapping[str, Any]


def kustomize(folder: Path) -> Ran:
    return run("kubectl", "kustomize", folder)


def filled_in(overlay: str, place: Path) -> Path:
    """A copy of the overlay, its examples of secrets filled in as an operator would."""
    copied = place / "kubernetes"
    if not copied.exists():
        shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns("secrets.env", "stores.env", "*.pem"))
    for example in (copied / "overlays" / overlay).glob("*.env.example"):
        text = re.sub(r"PASSWORD(?=@)", PASSWORD, example.read_text(encoding="utf-8"))
        example.with_suffix("").write_text(re.sub(r"=$", f"={PASSWORD * 4}", text, flags=re.MULTILINE))
    (copied / "overlays" / overlay / "audit-signing-key.pem").write_text(SIGNING_KEY)
    return copied / "overlays" / overlay


def rendered(overlay: str, place: Path) -> Sequence[Manifest]:
    text = accepted(kustomize(filled_in(overlay, place)))
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> Mapping[str, Manifest]:
    return {told["metadata"]["name"]: told for told in manifests if told["kind"] in kinds}


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """The name, labels and spec of each pod that a Deployment or StatefulSet makes."""
    for name, told in of_kind(manifests, "Deployment", "StatefulSet").items():
        template = told["spec"]["template"]
        yield name, template["metadata"]["labels"], template["spec"]


def selects(selector: Manifest, labels: Manifest) -> bool:
    assert selector.keys() <= {"matchLabels"}, "no other kind is used"
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
