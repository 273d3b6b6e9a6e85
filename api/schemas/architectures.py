"""Architectures on the wire, and the JSON Schema of a config for one of them."""

from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.json_schema import models_json_schema

from api.schemas.common import Shape
from detector.config import ARCHITECTURES, TrainConfig, usual_optimizer

_NAME = "ssdlite320_mobilenet_v3_large"


class ArchitectureView(Shape):
    """A detector that can be trained."""

    id: str
    """Its name: the `architecture` of a config."""
    object: Literal["architecture"] = "architecture"
    description: str
    defaults: dict[str, Any]
    """Its options and their defaults."""
    schema_url: str
    """Where the JSON Schema of its config is."""


class ArchitectureList(Shape):
    """Every architecture."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {
                            "id": _NAME,
                            "object": "architecture",
                            "description": "SSDlite with a MobileNetV3-Large backbone: one stage.",
                            "defaults": {"image_size": 320, "initial_weights": "random"},
                            "schema_url": f"/v1/architectures/{_NAME}/schema",
                        }
                    ],
                    "first_id": _NAME,
                    "last_id": _NAME,
                    "has_more": False,
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[ArchitectureView]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False] = False
    """Always false: there are few architectures."""


def architectures() -> ArchitectureList:
    """Every architecture, in the order of `detector.config.ARCHITECTURES`."""
    views = [
        ArchitectureView(
            id=name,
            description=(options.__doc__ or "").strip(),
            defaults=options().model_dump(mode="json", exclude={"kind"}),
            schema_url=f"/v1/architectures/{name}/schema",
        )
        for name, options in ARCHITECTURES.items()
    ]
    return ArchitectureList(data=views, first_id=views[0].id, last_id=views[-1].id)


def config_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of `TrainConfig` with this architecture as the only one. Raises KeyError."""
    options = ARCHITECTURES[name]
    _, both = models_json_schema([(TrainConfig, "validation"), (options, "validation")])
    definitions: dict[str, Any] = both["$defs"]
    schema: dict[str, Any] = definitions.pop("TrainConfig")
    architecture = schema["properties"]["architecture"]
    schema["properties"]["architecture"] = {
        "anyOf": [{"const": name, "type": "string"}, {"$ref": f"#/$defs/{options.__name__}"}],
        "description": architecture["description"],
    }
    if TrainConfig().architecture.kind == name:
        schema["properties"]["architecture"]["default"] = name
    else:
        schema["required"] = [*schema.get("required", []), "architecture"]
    _tell_usual_optimizer(name, schema, definitions)
    # `kind` tells the objects of a choice apart; pydantic lists it as if it could be left out.
    for definition in definitions.values():
        if "const" in definition.get("properties", {}).get("kind", {}):
            definition["required"] = ["kind", *definition.get("required", [])]
    used = _referenced(schema, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"TrainConfig of {name}",
        "$defs": {key: value for key, value in definitions.items() if key in used},
    }


def _tell_usual_optimizer(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """As the first choice, with its learning rate, for its defaults are the architecture's."""
    usual = usual_optimizer(name)
    told = schema["properties"]["optimizer"]
    names, objects = told["anyOf"]
    names["enum"].sort(key=lambda kind: kind != usual.kind)
    reference = objects["discriminator"]["mapping"][usual.kind]
    objects["oneOf"].sort(key=lambda one: one["$ref"] != reference)
    definitions[reference.rpartition("/")[2]]["properties"]["lr"]["default"] = usual.lr
    told["default"] = usual.kind


def _referenced(schema: object, definitions: dict[str, Any]) -> set[str]:
    """Names of the definitions that `schema` needs, through others too."""
    found: set[str] = set()
    rest: list[object] = [schema]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            name = str(item.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found.add(name)
                rest.append(definitions[name])
            rest.extend(value for key, value in item.items() if key != "$ref")
        elif isinstance(item, list):
            rest.extend(item)
    return found
