"""The recipes are those of the pretrained weights: what the files say of their training."""

from __future__ import annotations

import dataclasses

import pytest

from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.embedding.extractor import load_extractor
from auditor.serialisation import to_json
from auditor.training.recipes import RECIPES, TUNING


@pytest.mark.parametrize("classes", sorted(RECIPES))
def test_pretrained_weights_were_made_by_the_recipe(classes):
    recipe, extractor = TUNING.get(classes, RECIPES[classes]), load_extractor(classes)
    assert extractor.config == recipe.extractor
    stated = {"start": ""} | extractor.summary["train"]  # older files know no start
    assert (stated["start"] != "") is (classes in TUNING)
    assert stated | {"start": ""} == to_json(recipe.train)
    stated = extractor.summary["alterations"]
    ours = to_json(recipe.alterations)
    # The track extractor is older than voices and clean first utterances.
    assert {key: ours[key] for key in stated} == stated
    assert set(ours) - set(stated) <= {"clean_first", "talk", "talk_snr_db"}


def test_every_recipe_names_its_classes():
    assert {name: recipe.train.classes for name, recipe in RECIPES.items()} == {
        name: name for name in RECIPES
    }
    assert DEFAULT_EXTRACTOR in RECIPES
    assert all(dataclasses.is_dataclass(recipe) for recipe in RECIPES.values())
    for name, recipe in TUNING.items():
        assert recipe.train.classes == name
        assert recipe.extractor == RECIPES[name].extractor, "the same network, trained further"
