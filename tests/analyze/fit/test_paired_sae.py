"""The paired SAE learns planted directions, is deterministic, and refuses what it cannot learn from."""

from __future__ import annotations

import pytest
import torch

from analyze.fit import FitOptions
from analyze.fit.paired_sae import common_scale, fit_paired_sae
from fi_store.dictionaries import load_dictionary
from fi_store.errors import AnalysisError

OPTIONS = FitOptions("resid_post", 3, n_latents=64, k=4, steps=300, batch=256, seed=0)


def sparse_pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two models over 32 unit directions in 24 dimensions; direction 0 fires in the second model only."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(32, 24, generator=random), dim=1)
    codes = torch.rand(3000, 32, generator=random) * (torch.rand(3000, 32, generator=random) < 0.08)
    first = codes.clone()
    first[:, 0] = 0
    return first @ directions, codes @ directions, directions


def test_recovers_directions_and_the_specific_one() -> None:
    first, second, directions = sparse_pair()
    dictionary = fit_paired_sae(first, second, OPTIONS)
    cosine = directions @ dictionary.w_dec.T
    assert (cosine.max(dim=1).values > 0.9).float().mean() > 0.9
    latent = int(cosine[0].argmax())
    f_first, f_second = dictionary.encode(first)[:, latent], dictionary.encode(second)[:, latent]
    assert f_second.mean() > 5 * f_first.mean()


def test_reconstructs_with_the_requested_sparsity() -> None:
    first, second, _ = sparse_pair()
    dictionary = fit_paired_sae(first, second, OPTIONS)
    codes = dictionary.encode(second)
    residual = (dictionary.decode(codes) - second).square().sum()
    assert 1 - residual / (second - second.mean(0)).square().sum() > 0.9
    assert 2 < (codes > 0).sum(dim=1).float().mean() < 6


def test_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, second, _ = sparse_pair()
    short = FitOptions("resid_post", 3, n_latents=64, k=4, steps=20, batch=128, seed=7)
    once, again = fit_paired_sae(first, second, short), fit_paired_sae(first, second, short)
    assert torch.equal(once.w_dec, again.w_dec)
    assert once.config == again.config
    other = fit_paired_sae(first, second, FitOptions("resid_post", 3, 64, 4, 20, 128, 8))
    assert not torch.equal(once.w_dec, other.w_dec)


def test_bfloat16_rows_reach_nearly_the_same_reconstruction() -> None:
    first, second, _ = sparse_pair()
    dictionary = fit_paired_sae(first.bfloat16(), second.bfloat16(), OPTIONS)
    residual = (dictionary.decode(dictionary.encode(second)) - second).square().sum()
    assert 1 - residual / (second - second.mean(0)).square().sum() > 0.85


def test_can_be_saved_and_loaded(tmp_path) -> None:
    first, second, _ = sparse_pair()
    dictionary = fit_paired_sae(first, second, FitOptions("resid_post", 3, 64, 4, 5, 128, 0))
    dictionary.save(tmp_path / "d")
    dictionary.save(tmp_path / "d")  # replaces
    read = load_dictionary(tmp_path / "d")
    assert read.config == dictionary.config
    assert torch.equal(read.encode(second), dictionary.encode(second))
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_refuses_a_dictionary_whose_tensors_contradict_its_configuration(tmp_path) -> None:
    first, second, _ = sparse_pair()
    dictionary = fit_paired_sae(first, second, FitOptions("resid_post", 3, 64, 4, 5, 128, 0))
    dictionary.save(tmp_path / "d")
    path = tmp_path / "d" / "cfg.json"
    path.write_text(path.read_text().replace('"n_latents": 64', '"n_latents": 65'))
    with pytest.raises(AnalysisError, match="65"):
        load_dictionary(tmp_path / "d")


@pytest.mark.parametrize(
    ("first", "second", "options", "words"),
    [
        (torch.ones(100, 4), torch.ones(100, 5), OPTIONS, "equal shapes"),
        (torch.ones(10, 4), torch.ones(10, 4), OPTIONS, "20 rows for 64 latents"),
        (torch.zeros(100, 4), torch.zeros(100, 4), OPTIONS, "all zero"),
        (torch.ones(100, 4), torch.ones(100, 4), FitOptions("s", 0, 8, 9, 1, 8, 0), "k = 9"),
    ],
)
def test_refuses(first, second, options, words) -> None:
    with pytest.raises(AnalysisError, match=words):
        fit_paired_sae(first, second, options)


def test_common_scale_is_the_root_mean_square_component() -> None:
    assert common_scale(torch.full((5, 3), 2.0), torch.full((5, 3), 4.0)) == pytest.approx(10**0.5)
