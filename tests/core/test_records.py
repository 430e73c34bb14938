"""Records as documents."""

import types
from typing import Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from alkaflow import records

MODELS = [
    each
    for each in vars(records).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == records.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_may_be_none_may_be_left_out(model: type[BaseModel]) -> None:
    """Bundles and archives leave out what is None, and are read back."""
    for name, field in model.model_fields.items():
        optional = get_origin(field.annotation) in (Union, types.UnionType) and type(None) in get_args(field.annotation)
        assert not (optional and field.is_required()), name
