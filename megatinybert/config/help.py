"""How options and their values are shown."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from megatinybert.config.schema import shipped_students

Options = dict[str, dict[str, Any]]


@functools.cache  # it takes longer than all else that is done to a recipe
def options_of(schema: type[BaseModel]) -> Options:
    """The JSON schema of every option, in the order of the fields.

    An option of a section is called section.key; one without a section is written with hyphens.
    """
    tree = schema.model_json_schema()
    options: Options = {}
    for name, content in tree["properties"].items():
        if "$ref" in content:
            section = tree["$defs"][content["$ref"].rsplit("/", 1)[-1]]
            options |= {f"{name}.{key}": option for key, option in section["properties"].items()}
        else:
            options[name.replace("_", "-")] = content
    return options


def canonical(name: str, options: Options) -> str:
    """The name in `options` of what is written `name`: where there is no section, underscores do as well."""
    hyphens = name.replace("_", "-")
    return hyphens if hyphens in options else name


def takes_list(option: Mapping[str, Any]) -> bool:
    """Whether the JSON schema `option` allows a list."""
    return any(choice.get("type") == "array" for choice in (option, *option.get("anyOf", ())))


def value_alone(option: Mapping[str, Any]) -> bool | str | None:
    """What the name of an option alone says, by its JSON schema: true where it is true or false, or what its field has
    as "alone" in `json_schema_extra`; None where it needs a value.
    """
    return True if option.get("type") == "boolean" else option.get("alone")


def help_text(usage: str, options: Options, schema: type[BaseModel]) -> str:
    """`usage`, then every option under its section's heading."""
    lines = [usage]
    last_heading = ""
    for name, option in options.items():
        heading = _heading(name, options, schema)
        if heading != last_heading:
            lines.append(heading)
            last_heading = heading
        description = option["description"]
        if name == "student.config":
            description += f" ({', '.join(shipped_students())})"
        default = f"default: {show(option['default'])}" if "default" in option else "required"
        lines.append(f"  --{name:<28} {description}\n{'':33}({allowed(option)}; {default})")
    return "\n".join(lines) + "\n"


def _heading(name: str, options: Options, schema: type[BaseModel]) -> str:
    section, dot, _ = name.partition(".")
    if dot:
        return f"{section}: {schema.model_fields[section].annotation.__doc__}"
    sections = any("." in other for other in options)
    return f"{name}: {options[name]['title']}" if sections else f"options: {schema.__doc__}"


def allowed(option: Mapping[str, Any]) -> str:
    """What values the JSON schema `option` takes, in words."""
    if "anyOf" in option:
        return " or ".join(allowed(choice) for choice in option["anyOf"])
    if "enum" in option:
        return "one of " + ", ".join(option["enum"])
    if "const" in option:
        return str(option["const"])
    if option["type"] == "array":
        items = option.get("prefixItems")
        length = f" of {len(items)}" if items else ""
        return f"a list{length}, each {allowed(items[0] if items else option['items'])}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {option[key]:g}" for key, sign in signs.items() if key in option]
    nouns = {
        "integer": "a whole number",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
        "object": "a mapping",
    }
    return " ".join([nouns[option["type"]], " and ".join(bounds)]).strip()


def show(value: object) -> str:
    """A value as a person would write it, cut where it is long."""
    text = value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
