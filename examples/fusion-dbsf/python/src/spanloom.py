"""What every plugin needs: parameters, typed errors, spans. Runs natively as well, for
tests: without the bindings of a component spans are inert, and errors have no host to go to.
"""

import functools
import json
import math
from typing import Any, Callable

try:
    from componentize_py_types import Err
    from wit_world.imports import telemetry, types
except ImportError:  # natively
    Err = telemetry = types = None


class PluginError(Exception):
    """Why the plugin could not do its work; `BadConfig` or `Unsupported` where it is known."""


class BadConfig(PluginError):
    """The parameters are not what the schema asks for."""


class Unsupported(PluginError):
    """The call needs something that this plugin does not do."""


def typed(work: Callable) -> Callable:
    """An export that raises only errors of the contract. Any other exception would trap:
    the instance would be lost, and the message with it.

    `Err` is raised here and nowhere else: it is frozen, so that an exception of this class
    can't pass a `contextlib.contextmanager`, which sets the traceback.
    """

    @functools.wraps(work)
    def export(*given):
        try:
            return work(*given)
        except BadConfig as error:
            failure = types.PluginError_BadConfig(str(error))
        except Unsupported as error:
            failure = types.PluginError_Unsupported(str(error))
        except Exception as error:
            failure = types.PluginError_Internal(f"{type(error).__name__}: {error}")
        raise Err(failure)

    return export


def describe(name: str, version: str, stage: str, parameters: dict) -> str:
    """The answer to `describe`; `parameters` is a JSON Schema."""
    return json.dumps({"name": name, "version": version, "stage": stage, "parameters": parameters})


def parse(text: str, schema: dict) -> dict:
    """Reads parameters and holds them against their schema; what is left out takes its
    `default`. Blank text counts as `{}`. Of JSON Schema this knows `type` (`object`,
    `number`, `integer`, `boolean`, `string`), `minimum`, `maximum`, `enum`, `properties`
    and `additionalProperties`.

    Raises `BadConfig` with the parameter, its value, and what is allowed.
    """
    try:
        value = json.loads(text.strip() or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"parameters: {error}") from None
    return _checked(value, schema, "")


_KEYWORDS = {"type", "minimum", "maximum", "enum", "properties", "additionalProperties", "default", "title", "description"}

# A bool is an int to Python, and `1e999` is infinite.
_TYPES = {
    "object": lambda value: isinstance(value, dict),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf,
    "integer": lambda value: not isinstance(value, bool) and (isinstance(value, int) or isinstance(value, float) and value.is_integer()),
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
}


def _no_constant(word: str):
    # `NaN` and `Infinity` are no JSON, but Python reads them.
    raise ValueError(f"{word} is no JSON")


def _checked(value: Any, schema: dict, path: str) -> Any:
    strange = [keyword for keyword in schema if keyword not in _KEYWORDS]
    if strange or schema.get("type") not in _TYPES:
        raise ValueError(f"the schema of `{path}` has something that is not checked: {strange or schema.get('type')}")
    where = f"parameter `{path}`" if path else "parameters"

    def bad(allowed: str) -> BadConfig:
        return BadConfig(f"{where}: {json.dumps(value)} is not allowed, allowed: {allowed}")

    if not _TYPES[schema["type"]](value):
        raise bad(f"a value of type {schema['type']}" if path else "a JSON object")
    if "enum" in schema and value not in schema["enum"]:
        raise bad(", ".join(map(str, schema["enum"])))
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if schema["type"] in ("number", "integer") and not low <= value <= high:
        raise bad(f"{low} to {high}")
    if schema["type"] == "integer":
        return int(value)
    return _members(value, schema, path) if schema["type"] == "object" else value


def _members(value: dict, schema: dict, path: str) -> dict:
    named = schema.get("properties", {})
    read = {name: _checked(member["default"], member, _joined(path, name)) for name, member in named.items() if "default" in member}
    for name, given in value.items():
        member = named.get(name, schema.get("additionalProperties"))
        if not isinstance(member, dict):
            raise BadConfig(f"parameter `{_joined(path, name)}` is unknown; known: {', '.join(named)}")
        read[name] = _checked(given, member, _joined(path, name))
    return read


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def pairs(values: dict) -> list:
    """Names and values as the host takes them: str, bool, int, float."""
    return [(name, _variant(value)) for name, value in values.items()]


def _variant(value: Any) -> Any:
    # A bool is an int, so it is asked for first.
    if isinstance(value, bool):
        return telemetry.Value_Flag(value)
    if isinstance(value, int):
        return telemetry.Value_Int(max(-(2**63), min(2**63 - 1, value)))
    if isinstance(value, float):
        return telemetry.Value_Real(value)
    if isinstance(value, str):
        return telemetry.Value_Text(value)
    raise TypeError(f"{value!r} can't be an attribute")


class Span:
    """A span that calls the host only while somebody records.

    A child is for `with`: it ends with the block. A handle that is only forgotten ends when
    the garbage collector comes to it, which after an exception may be much later.
    """

    def __init__(self, handle=None, recording: bool = True):
        """`Span(stage, call.recording)` is the stage span of a call; `Span()` is one that
        nothing is done with."""
        self._handle = handle if recording else None

    @property
    def recording(self) -> bool:
        return self._handle is not None

    def child(self, name: str) -> "Span":
        """Opens a child that starts now: `with span.child("fusion.sums") as span:`."""
        return _Child(self._handle.child(name)) if self.recording else Span()

    def set(self, values: dict) -> None:
        """Sets attributes: `{"retrieval.fusion.rows_in": 6}`."""
        if self.recording:
            self._handle.set_attributes(pairs(values))

    def event(self, name: str, values: dict | None = None) -> None:
        """Adds an event that happens now."""
        if self.recording:
            self._handle.add_event(name, pairs(values or {}))

    def fail(self, message: str) -> None:
        """Sets the status to error; the call goes on."""
        if self.recording:
            self._handle.fail(message)

    def __enter__(self) -> "Span":
        return self

    def __exit__(self, *failure) -> None:
        pass


class _Child(Span):
    """A span that this plugin opened, and ends."""

    def __exit__(self, *failure) -> None:
        handle, self._handle = self._handle, None
        handle.__exit__(*failure)


_F32_MAX = 3.4028234663852886e38


def finite(number: float) -> float:
    """What is beyond the largest finite number of 32 bits becomes that number. The rounding
    to 32 bits is done on the way to the host."""
    return max(-_F32_MAX, min(_F32_MAX, number))
