"""Where a decoder layer adds to the residual stream: the modules of attention and MLP, found by tracing, not by name.

Autograd records how a layer's output was computed. From there back to the layer's input only additions are followed:
what they add must be the outputs of two modules, perhaps times constants, and the first of the two must read other
positions. This finds norms after a module (Gemma 2), multipliers (Granite) and modules inside one that returns more
than it adds (Bloom), in every precision. Then the sum is checked on the numbers. Other layers are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from extract.models import ModelReference, Ways
from fi_store.errors import ExtractionError
from fi_store.wording import count

ADDED = ("attn_out", "mlp_out")
"""The sites that are added to the residual stream."""
TRACED_TOKENS = (2, 8)
"""Texts and tokens of the pass that is traced."""
UNCHANGED = (
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "AliasBackward0",
    "CloneBackward0",
    "ToCopyBackward0",
)
"""Autograd's names of steps that keep the numbers and their order."""
ROUNDING = 2.0
"""Rounding errors (of the widest kind, for each number) by which the sum of both sites may miss what a layer adds."""


class Readable(Protocol):
    """What reading needs from a model. `extract.models.Reader` has it."""

    @property
    def reference(self) -> ModelReference: ...
    @property
    def layers(self) -> Sequence[nn.Module]: ...
    @property
    def plain(self) -> Any: ...
    @property
    def ways(self) -> Ways: ...
    def active(self) -> AbstractContextManager[Any]: ...


class Site(NamedTuple):
    """A module whose output times `scale` are a site's activations. `path` is its name in the layer, "" the layer's."""

    module: nn.Module
    path: str = ""
    scale: float = 1.0

    def read(self, output: Any, shape: torch.Size) -> Tensor | None:
        """The activations (B, T, d_model) in what the module returned in a pass over ids of `shape` (B, T).

        None if they are of another shape: several streams in one tensor, for example.
        """
        hidden = first_output(output)
        if not isinstance(hidden, Tensor):
            return None
        if self.path and hidden.dim() == 2 and len(hidden) == shape.numel():  # OPT joins texts and positions
            hidden = hidden.reshape(*shape, -1)
        if hidden.dim() != 3 or hidden.shape[:2] != shape:
            return None
        return hidden if self.scale == 1 else hidden * self.scale

    def write(self, output: Any, before: Tensor, after: Tensor) -> Any:
        """What the module must return so that the activations are `after`, which were `before` (B, T, d_model)."""
        hidden = first_output(output)
        if self.scale != 1:  # only the difference is divided, so that what stays is not rounded
            after = hidden.reshape(before.shape) + (after - before) / self.scale
        after = after.reshape(hidden.shape)
        return (after, *output[1:]) if isinstance(output, tuple) else after


class LayerSites(NamedTuple):
    """What a layer adds to the residual stream. `problem` says why it is not two modules' outputs, as a clause.

    `error`: the largest difference between the sum of both sites and what the layer adds, relative to its largest
    number; NaN without sites.
    """

    attn_out: Site | None = None
    mlp_out: Site | None = None
    problem: str | None = None
    error: float = math.nan


_FOUND: WeakKeyDictionary[nn.Module, tuple[LayerSites, ...]] = WeakKeyDictionary()
"""The sites of a model. (Adapters change the modules inside, never what is added where.)"""


def require_sites(reader: Readable, sites: Sequence[str]) -> None:
    """Checks that every layer has these sites.

    Raises:
        ExtractionError: a layer adds something other than two modules' outputs. It names the layer and why.
    """
    for site in sites:
        for number in range(len(reader.layers)):
            site_of(reader, number, site)


def site_of(reader: Readable, layer: int, site: str) -> Site:
    """The module whose output is a site of a layer.

    Raises:
        ExtractionError: the layer has no such site.
    """
    if site not in ADDED:
        return Site(reader.layers[layer])
    layer_sites = sites_of(reader)[layer]
    found: Site | None = getattr(layer_sites, site)
    if found is None:
        raise ExtractionError(
            f"{site} cannot be read: layer {layer} of {reader.reference.text} ({type(reader.layers[layer]).__name__}) "
            f"{layer_sites.problem}.",
            hint="read the whole stream: --sites resid_post",
        )
    return found


def sites_of(reader: Readable) -> tuple[LayerSites, ...]:
    """What every layer adds, traced in one short pass the first time and then remembered."""
    with reader.active() as model:
        if model not in _FOUND:
            _FOUND[model] = _traced(model, reader.layers)
        return _FOUND[model]


def _traced(model: Any, layers: Sequence[nn.Module]) -> tuple[LayerSites, ...]:
    traces = [_Trace() for _ in layers]
    embedding = model.get_input_embeddings().weight
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        ids = torch.arange(math.prod(TRACED_TOKENS), device=embedding.device) % len(embedding)
        for layer, trace in zip(layers, traces, strict=True):
            stack.enter_context(_watched(layer, trace))
        model(input_ids=ids.reshape(TRACED_TOKENS), use_cache=False)
    return tuple(trace.found or LayerSites(problem="is not run") for trace in traces)


class _Returned(NamedTuple):
    """What a module in the layer returned: a copy (B, T, d_model), which is a part of the graph."""

    order: int  # in which modules finished
    module: nn.Module
    path: str
    values: Tensor


class _Term(NamedTuple):
    """Something that is added, by the step of the graph that computed it (None: a constant), times `scale`."""

    step: Any
    scale: float


@dataclass
class _Trace:
    """A layer while it runs: its input, the step of the graph that made it, and what its modules have returned."""

    found: LayerSites | None = None
    given: Tensor | None = None
    start: Any = None
    returned: dict[Any, _Returned] = field(default_factory=dict)  # by the step that computed it

    def begin(self, hidden: Tensor) -> Tensor:
        """The layer's input (B, T, d_model) as a tensor with which a graph begins."""
        self.given = hidden.detach().clone().requires_grad_()
        begun = self.given.clone()
        self.start = begun.grad_fn
        return begun

    def keep(self, module: nn.Module, path: str, hidden: Any) -> None:
        """Remembers what a module returned. Of modules that return the same it is the one that stands highest."""
        given = self.given
        if given is None or not isinstance(hidden, Tensor) or hidden.grad_fn is None:
            return
        known = self.returned.get(hidden.grad_fn)
        if known is not None and known.path.count(".") <= path.count("."):
            return
        if hidden.numel() == given.numel() and hidden.shape[-1] == given.shape[-1]:
            order = len(self.returned) if known is None else known.order
            values = hidden.clone().reshape(given.shape)
            self.returned[hidden.grad_fn] = _Returned(order, module, path, values)

    def end(self, output: Any) -> None:
        """Finds the layer's sites."""
        try:
            self.found = self._sites(output)
        except RuntimeError as error:  # a kernel without a backward pass
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            self.found = LayerSites(problem=f"cannot be traced ({reason})")
        self.given, self.start = None, None
        self.returned.clear()

    def _sites(self, output: Any) -> LayerSites:
        given = self.given
        if given is None or not isinstance(output, Tensor) or output.shape != given.shape:
            return LayerSites(problem="does not return what it is given, one vector for each token")
        terms = self._terms(output.grad_fn, 1.0)
        if [term.scale for term in terms if term.step is self.start] != [1.0]:
            return LayerSites(problem="does not pass its input on unchanged")
        added = [term for term in terms if term.step is not self.start]
        if len(added) == 1 and self._module(added[0]) is None:
            added = _parts(*added)
        if len(added) != 2:
            return LayerSites(
                problem=f"adds {count(len(added), 'vector')} a token, not those of attention and MLP"
            )
        modules = [found for found in map(self._module, added) if found is not None]
        if len(modules) < 2:
            return LayerSites(problem="adds something that no single module returns")
        (attn, attn_scale), (mlp, mlp_scale) = sorted(modules, key=lambda found: found[0].order)
        if not _reads_others(attn.values, given):
            return LayerSites(
                problem=f"has no attention before {mlp.path}: {attn.path} reads single positions"
            )
        terms_added = attn.values * attn_scale, mlp.values * mlp_scale
        error = _relative_error(given.detach(), *(part.detach() for part in (*terms_added, output)))
        if error is None:
            return LayerSites(problem=f"adds something other than {attn.path} and {mlp.path}")
        return LayerSites(
            Site(attn.module, attn.path, attn_scale), Site(mlp.module, mlp.path, mlp_scale), None, error
        )

    def _terms(self, step: Any, scale: float) -> list[_Term]:
        """What is added up in a step: its parts if the layer's input is one of them, else the step itself."""
        whole = _Term(step, scale)
        for same in _unchanged(whole):
            if same.step is self.start:
                return [same]
        parts = [term for part in _parts(whole) for term in self._terms(*part)]
        return parts if any(part.step is self.start for part in parts) else [whole]

    def _module(self, term: _Term) -> tuple[_Returned, float] | None:
        """The module that returned a term before it was multiplied, and by how much it was."""
        for step, scale in _unchanged(term):
            if step in self.returned:
                return self.returned[step], scale
        return None


def _unchanged(term: _Term) -> Iterator[_Term]:
    """A term, and what it was before it was viewed otherwise, cast, or multiplied by a number."""
    step, scale = term
    while step is not None:
        yield _Term(step, scale)
        name = step.name()
        if name in ("MulBackward0", "DivBackward0"):
            factor = step._saved_other
            if factor is None or factor.dim() or step.next_functions[1][0] is not None:
                return
            scale = scale * float(factor) if name == "MulBackward0" else scale / float(factor)
        elif name not in UNCHANGED:
            return
        step = step.next_functions[0][0]


def _parts(term: _Term) -> list[_Term]:
    """The two parts of a sum; nothing if a term is none."""
    *_, (step, scale) = _unchanged(term) if term.step is not None else [term]
    if step is None or step.name() != "AddBackward0":
        return []
    (first, _), (second, _) = step.next_functions
    return [_Term(first, scale), _Term(second, scale * float(step._saved_alpha))]


def _reads_others(values: Tensor, given: Tensor) -> bool:
    """Whether values (B, T, d_model) at the last position depend on the layer's input at earlier ones."""
    weights = torch.linspace(1, 2, values.shape[-1], device=values.device).cos()
    (slopes,) = torch.autograd.grad((values[:, -1].float() @ weights).sum(), given, retain_graph=True)
    return bool(slopes[:, :-1].any())


def _relative_error(given: Tensor, attn: Tensor, mlp: Tensor, returned: Tensor) -> float | None:
    """By how much two terms miss what was added (see `LayerSites`); None if it is more than rounding explains."""
    epsilon = max(torch.finfo(part.dtype).eps for part in (given, attn, mlp, returned))
    given, attn, mlp, returned = (part.double() for part in (given, attn, mlp, returned))
    step = returned - given
    missed = (attn + mlp - step).abs()
    allowed = ROUNDING * epsilon * (given.abs() + attn.abs() + mlp.abs() + returned.abs())
    if not bool((missed <= allowed).all()):
        return None
    return float(missed.max() / step.abs().max().clamp(min=torch.finfo(step.dtype).tiny))


@contextmanager
def _watched(layer: nn.Module, trace: _Trace) -> Iterator[None]:
    """Traces a layer while the context is open."""

    def begin(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            return (trace.begin(args[0]), *args[1:]), kwargs
        if isinstance(kwargs.get("hidden_states"), Tensor):
            return args, {**kwargs, "hidden_states": trace.begin(kwargs["hidden_states"])}
        return None

    def keep(path: str) -> Callable[..., None]:
        return lambda module, _args, output: trace.keep(module, path, first_output(output))

    with ExitStack() as stack:
        stack.callback(layer.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for path, module in layer.named_modules():
            if module is not layer:
                stack.callback(module.register_forward_hook(keep(path)).remove)
        ended = layer.register_forward_hook(lambda _module, _args, output: trace.end(first_output(output)))
        stack.callback(ended.remove)
        yield


def first_output(output: Any) -> Any:
    """What a module returns first, which in transformers are its hidden states."""
    return output[0] if isinstance(output, tuple) and output else output
