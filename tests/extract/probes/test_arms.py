"""Files of arms: what is read from them, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from extract.probes.arms import FeaturePatch, live_patch, load_arm
from fi_store.dictionaries import DictionaryConfig, PairedSae
from fi_store.errors import ExtractionError
from fi_store.vocabulary import SIDES, Side

ROWS = torch.tensor([3, 5, 9])
COEFFICIENTS = torch.tensor([[1.0, 0.0], [2.0, -1.0], [0.0, 4.0]])
DIRECTIONS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]])
GOOD = {"rows": ROWS, "coefficients": COEFFICIENTS, "directions": DIRECTIONS}

ANSWER = torch.tensor([3])  # the position class


def saved(
    folder: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None, name: str = "arm"
) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({each: tensor.clone() for each, tensor in tensors.items()}, path, metadata)
    return path


def test_vectors_are_those_of_the_rows(tmp_path: Path) -> None:
    arm = load_arm(saved(tmp_path, GOOD), "resid_post", 1, 4)
    patched, vectors = arm.vectors(torch.tensor([9, 4, 3, 100, 0]))
    assert patched.tolist() == [True, False, True, False, False]
    assert vectors.tolist() == [[0.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    whole = load_arm(saved(tmp_path, {"rows": ROWS, "coefficients": COEFFICIENTS}), "resid_post", 1, 2)
    assert torch.equal(whole.vectors(ROWS)[1], COEFFICIENTS)
    empty = load_arm(
        saved(tmp_path, {"rows": ROWS[:0], "coefficients": COEFFICIENTS[:0]}), "resid_post", 1, 2
    )
    assert [part.tolist() for part in empty.vectors(ROWS)] == [[False] * 3, []]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": ROWS.flip(0)}, "rows do not ascend"),
        ({"rows": ROWS[:2]}, "2 rows have 3 coefficients"),
        ({"rows": ROWS.int()}, "rows is 1-dimensional torch.int32"),
        ({"coefficients": COEFFICIENTS.double()}, "coefficients is 2-dimensional torch.float64"),
        ({"coefficients": COEFFICIENTS / 0}, "not finite"),
        ({"directions": DIRECTIONS[:1]}, "1 directions have 2 coefficients"),
        ({"directions": DIRECTIONS[:, :3].contiguous()}, "3 wide, the model is 4"),
        ({"latents": ROWS}, "its latents are not as many as its directions"),
        ({"other": ROWS}, "it holds coefficients, directions, other, rows"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    changed: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExtractionError, match=message):
        load_arm(saved(tmp_path, {**GOOD, **changed}), "resid_post", 1, 4)


def test_a_file_that_is_missing_or_pickled_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arm.safetensors"
    with pytest.raises(ExtractionError, match="cannot be read"):
        load_arm(path, "resid_post", 1, 4)
    path.write_bytes(pickle.dumps(GOOD))
    with pytest.raises(ExtractionError, match="cannot be read"):
        load_arm(path, "resid_post", 1, 4)


def dictionary() -> PairedSae:
    """Each axis is a latent with one sign."""
    config = DictionaryConfig("paired_sae", "resid_post", 1, 4, 4, 4, 4, 0, 1, 2.0, (2.0, 2.0), 0.0, 10)
    return PairedSae(config, torch.eye(4), torch.eye(4), torch.zeros(4), torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize("first", SIDES)
def test_features_are_encoded_from_both_models(first: Side, tmp_path: Path) -> None:
    dictionary().save(tmp_path / "dictionary")
    about = {"dictionary": "dictionary", "side_first": first}
    tensors = {**GOOD, "latents": torch.tensor([0, 2])}
    arm = load_arm(saved(tmp_path, tensors, about), "resid_post", 1, 4)
    base, target = torch.tensor([[1.0, 7.0, -3.0, 0.0]]), torch.tensor([[5.0, 8.0, 6.0, 9.0]])
    live = live_patch(tmp_path, arm)
    # Activities are in units of 2: 0.5 and 0 in the base, 2.5 and 3 in the target.
    expected = 2.0 * DIRECTIONS[0] + 3.0 * DIRECTIONS[1]
    torch.testing.assert_close(live.vectors({"base": base, "target": target}, ANSWER)[0], expected)
    torch.testing.assert_close(live.vectors({"base": target, "target": base}, ANSWER)[0], -expected)
    assert isinstance(live, FeaturePatch)
    control = {
        "rows": ROWS,
        "coefficients": COEFFICIENTS[:, :1],
        "directions": torch.tensor([[0.0, 2.0, 0.0, 0.0]]),
    }
    control = {name: tensor.contiguous() for name, tensor in control.items()}
    like = {"like": "arm.safetensors", "sign": "-1"}
    other = live_patch(tmp_path, load_arm(saved(tmp_path, control, like, "control"), "resid_post", 1, 4))
    torch.testing.assert_close(
        other.vectors({"base": base, "target": target}, ANSWER)[0],
        torch.tensor([0.0, -float(expected.norm()), 0.0, 0.0]),
    )


def test_features_of_prompts_do_not_act_in_answers(tmp_path: Path) -> None:
    dictionary().save(tmp_path / "dictionary")
    about = {"dictionary": "dictionary", "side_first": "base"}
    tensors = {**GOOD, "latents": torch.tensor([0, -1])}
    live = live_patch(tmp_path, load_arm(saved(tmp_path, tensors, about), "resid_post", 1, 4))
    base, target = torch.tensor([[1.0, 7.0, -3.0, 0.0]]), torch.tensor([[5.0, 8.0, 6.0, 9.0]])
    torch.testing.assert_close(live.vectors({"base": base, "target": target}, ANSWER)[0], 2.0 * DIRECTIONS[0])


@pytest.mark.parametrize("about", [{}, {"like": "arm.safetensors"}, {"like": "arm.safetensors", "sign": "2"}])
def test_an_arm_that_does_not_tell_how_it_goes_on_is_refused(about: dict[str, str], tmp_path: Path) -> None:
    arm = load_arm(saved(tmp_path, GOOD, about), "resid_post", 1, 4)
    with pytest.raises(ExtractionError, match="does not tell how it goes on"):
        live_patch(tmp_path, arm)


def test_latents_that_the_dictionary_lacks_are_refused(tmp_path: Path) -> None:
    dictionary().save(tmp_path / "dictionary")
    tensors = {**GOOD, "latents": torch.tensor([0, 4])}
    about = {"dictionary": "dictionary", "side_first": "base"}
    arm = load_arm(saved(tmp_path, tensors, about), "resid_post", 1, 4)
    with pytest.raises(ExtractionError, match="latents that its dictionary does not have"):
        live_patch(tmp_path, arm)
