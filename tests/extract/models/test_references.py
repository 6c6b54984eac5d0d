"""Model references: every form is understood, everything else is refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extract.models import parse_reference
from fi_store.errors import ModelError

if TYPE_CHECKING:
    from tests.helpers.tiny import TinyModels


def test_every_form_is_understood(tiny_models: TinyModels, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF....")
    assert parse_reference(str(tiny_models.llama)).kind == "folder"
    assert parse_reference(str(tiny_models.adapter)).kind == "adapter"
    assert parse_reference(str(file)).kind == "gguf"
    bundled = parse_reference("bundled:smollm2")
    assert (bundled.kind, bundled.repo, bundled.path) == ("bundled", "smollm2", None)
    plain, pinned = parse_reference("owner/name"), parse_reference(" owner/name@v1.0 ")
    assert (plain.kind, plain.repo, plain.revision) == ("hub", "owner/name", None)
    assert (pinned.repo, pinned.revision) == ("owner/name", "v1.0")


def test_a_folder_with_an_at_sign_is_a_folder(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = tmp_path / "model@2"
    folder.symlink_to(tiny_models.llama)
    reference = parse_reference(str(folder))
    assert reference.kind == "folder"
    assert reference.path == tiny_models.llama.resolve()
    assert reference.same_model(parse_reference(str(tiny_models.llama)))
    assert not reference.same_model(parse_reference(str(tiny_models.llama_other)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bundled:nothing", "no bundled model 'nothing'"),
        ("/no/such/folder", "does not exist"),
        ("./here", "does not exist"),
        ("weights.gguf", "does not exist"),
        ("a/b/c", "neither an existing path nor a hub id"),
        ("owner/name@", "neither an existing path"),
        ("", "model reference is empty"),
        ("x" * 5000, "cannot be looked up"),
    ],
)
def test_other_texts_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        parse_reference(text)
    assert len(str(caught.value)) < 400


def test_folders_and_files_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a config\.json nor an adapter_config\.json"):
        parse_reference(str(tmp_path))
    false = tmp_path / "false.gguf"
    false.write_bytes(b"nope")
    with pytest.raises(ModelError, match="not a GGUF file"):
        parse_reference(str(false))
    with pytest.raises(ModelError, match=r"a GGUF file but no config\.json") as caught:
        parse_reference(str(tmp_path))
    assert str(false) in caught.value.hint
    text = tmp_path / "notes.txt"
    text.write_text("hello", encoding="utf-8")
    with pytest.raises(ModelError, match="not a kind of file that a model can be read from"):
        parse_reference(str(text))


def test_a_path_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(ModelError, match="~nobody-of-this-name/model begins with a user"):
        parse_reference("~nobody-of-this-name/model")


@given(st.text(max_size=60))
@example("~0")
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ModelError:
        return
    assert reference.kind != "hub" or (reference.repo and ".." not in reference.repo)
