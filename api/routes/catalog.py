"""The video models on offer."""

from fastapi import APIRouter

from api import examples
from api.openapi import answers
from api.schemas.catalog import Catalog
from rushes.access.callers import ANY_KEY
from rushes.catalog import VIDEO_MODELS

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/catalog", summary="List video models", **answers(ANY_KEY, 200, "The catalogue.", examples.CATALOG))
async def show() -> Catalog:
    """Every video model with its parameters and its price."""
    return Catalog.model_validate({"models": VIDEO_MODELS})
