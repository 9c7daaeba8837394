"""The tensors and quantizers of a network's module in a file."""

from dataclasses import dataclass

from torch import Tensor, fx, nn

from tersor.core.grid import Grid
from tersor.errors import UnsupportedError
from tersor.frontend.validate import check_names
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize
from tersor.quant.placement.row_ranges import RowQuantize
from tersor.saved.tensor_pool import Pool, Store, Stored


@dataclass(frozen=True)
class SavedTensor:
    """A parameter or a buffer.

    Attributes:
        name: Its name in the module.
        stored: Its values.
        parameter: Whether it is a parameter.
        gradient: Whether it can be trained.
        saved: Whether it is in the `state_dict`.
        same_as: Name of the tensor before it that it is itself; empty if there is none.
    """

    name: str
    stored: Stored
    parameter: bool
    gradient: bool
    saved: bool
    same_as: str = ""


@dataclass(frozen=True)
class SavedQuantizer:
    """A quantizer of a value or a weight; see `FakeQuantize`.

    Attributes:
        names: The places in the module where it stands; none if only biases know it.
    """

    names: tuple[str, ...]
    grid: Grid
    axis: int | None
    stored_only: bool
    enabled: bool
    scale: Stored
    zero_point: Stored


@dataclass(frozen=True)
class SavedBias:
    """A quantizer of a bias; see `BiasQuantize`.

    Attributes:
        names: The places in the module where it stands.
        edges: The numbers of the quantizers of input and weight.
    """

    names: tuple[str, ...]
    edges: tuple[int, ...]


@dataclass(frozen=True)
class SavedRows:
    """A quantizer of rows; see `RowQuantize`.

    Attributes:
        names: The places in the module where it stands.
        grid: The grid of each row.
    """

    names: tuple[str, ...]
    grid: Grid


@dataclass(frozen=True)
class SavedModule:
    """A module.

    Attributes:
        modules: Names of all modules inside it, in order.
        tensors: Parameters and buffers, but for those of quantizers.
        quantizers: Quantizers of values and weights.
        biases: Quantizers of biases.
        rows: Quantizers of rows.
    """

    modules: tuple[str, ...]
    tensors: tuple[SavedTensor, ...]
    quantizers: tuple[SavedQuantizer, ...]
    biases: tuple[SavedBias, ...]
    rows: tuple[SavedRows, ...] = ()


def write_module(module: nn.Module, store: Store, owner: str) -> SavedModule:
    """Describe a module, and store its tensors.

    Args:
        module: The module of a network.
        store: Where its tensors go.
        owner: What the network is called there.

    Raises:
        UnsupportedError: It holds a module of another kind.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    modules.pop("")
    fakes: dict[FakeQuantize, list[str]] = {}
    biases: dict[BiasQuantize, list[str]] = {}
    rows: list[SavedRows] = []
    for name, inner in modules.items():
        if isinstance(inner, FakeQuantize):
            fakes.setdefault(inner, []).append(name)
        elif isinstance(inner, BiasQuantize):
            biases.setdefault(inner, []).append(name)
        elif isinstance(inner, RowQuantize):
            rows.append(SavedRows((name,), inner.grid))
        elif type(inner) is not nn.Module:
            raise UnsupportedError(
                f"the module {name!r} is a {type(inner).__name__}, which is still in training; "
                "finish the training, and save its result"
            )
    for edge in (edge for bias in biases for edge in bias.edges):
        fakes.setdefault(edge, [])
    numbers = {fake: number for number, fake in enumerate(fakes)}
    return SavedModule(
        tuple(modules),
        _tensors(module, {name for names in fakes.values() for name in names}, store, owner),
        tuple(
            _quantizer(fake, tuple(names), store, f"{owner}/quantizer {numbers[fake]}")
            for fake, names in fakes.items()
        ),
        tuple(
            SavedBias(tuple(names), tuple(numbers[edge] for edge in bias.edges))
            for bias, names in biases.items()
        ),
        tuple(rows),
    )


def _tensors(
    module: nn.Module, quantizers: set[str], store: Store, owner: str
) -> tuple[SavedTensor, ...]:
    parameters = module.named_parameters(remove_duplicate=False)
    buffers = module.named_buffers(remove_duplicate=False)
    saved, first = module.state_dict().keys(), dict[int, str]()
    found = []
    for name, value in (*parameters, *buffers):
        if name.rpartition(".")[0] in quantizers:
            continue
        same = first.setdefault(id(value), name)
        stored = store.add(f"{owner}/{name}", value)
        is_parameter = isinstance(value, nn.Parameter)
        same_as = "" if same == name else same
        found.append(
            SavedTensor(name, stored, is_parameter, value.requires_grad, name in saved, same_as)
        )
    return tuple(found)


def _quantizer(
    fake: FakeQuantize, names: tuple[str, ...], store: Store, key: str
) -> SavedQuantizer:
    return SavedQuantizer(
        names,
        fake.grid,
        fake.axis,
        fake.stored_only,
        fake.enabled,
        store.add(f"{key}.scale", fake.scale),
        store.add(f"{key}.zero_point", fake.zero_point),
    )


def read_module(saved: SavedModule, pool: Pool) -> fx.GraphModule:
    """Build a module, without its graph.

    Args:
        saved: What `write_module` returned.
        pool: The tensors.

    Raises:
        ValueError: It is inconsistent.
        InvalidModelError: A name cannot be that of a tensor in a graph.
    """
    check_names((*saved.modules, *(tensor.name for tensor in saved.tensors)))
    fakes = [_read_quantizer(item, pool) for item in saved.quantizers]
    places: dict[str, nn.Module] = {}
    for item, fake in zip(saved.quantizers, fakes, strict=True):
        places.update(dict.fromkeys(item.names, fake))
    for bias in saved.biases:
        if not all(0 <= number < len(fakes) for number in bias.edges):
            raise ValueError(f"the quantizer of a bias reads number {max(bias.edges)}")
        edges = BiasQuantize(*(fakes[number] for number in bias.edges))
        places.update(dict.fromkeys(bias.names, edges))
    for item in saved.rows:
        places.update(dict.fromkeys(item.names, RowQuantize(item.grid)))
    if unknown := places.keys() - {*saved.modules}:
        raise ValueError(f"there is no place {min(unknown)[:80]!r} for a quantizer")
    module = fx.GraphModule(nn.Module(), fx.Graph())
    for name in saved.modules:
        _owner(module, name).add_module(name.rpartition(".")[2], places.get(name) or nn.Module())
    _add_tensors(module, saved, pool)
    return module.eval()


def _owner(module: nn.Module, name: str) -> nn.Module:
    owner = module.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, FakeQuantize | BiasQuantize | RowQuantize):
        raise ValueError(f"{name[:80]!r} stands inside a quantizer")
    return owner


def _add_tensors(module: nn.Module, saved: SavedModule, pool: Pool) -> None:
    known: dict[str, Tensor] = {}
    for item in saved.tensors:
        if item.same_as and item.same_as not in known:
            raise ValueError(f"{item.name[:80]!r} is said to be {item.same_as[:80]!r}")
        value = known.get(item.same_as)
        if value is None:
            value = _value(item, pool)
        known[item.name] = value
        owner, leaf = _owner(module, item.name), item.name.rpartition(".")[2]
        if isinstance(value, nn.Parameter):
            owner.register_parameter(leaf, value)
        else:
            owner.register_buffer(leaf, value, persistent=item.saved)


def _value(item: SavedTensor, pool: Pool) -> Tensor:
    value = pool.take(item.stored)
    if value.is_floating_point() and bool(value.isnan().any()):
        raise ValueError(f"{item.name[:80]!r} holds NaN")
    if item.gradient and not value.is_floating_point():
        raise ValueError(f"{item.name[:80]!r} holds integers, which cannot be trained")
    return nn.Parameter(value, requires_grad=item.gradient) if item.parameter else value


def _read_quantizer(item: SavedQuantizer, pool: Pool) -> FakeQuantize:
    fake = FakeQuantize(item.grid, item.axis, item.stored_only)
    scale, zero_point = pool.take(item.scale), pool.take(item.zero_point)
    is_usable = bool(scale.isfinite().all()) and bool(zero_point.isfinite().all())
    if not (is_usable and bool((scale > 0).all()) and scale.ndim < 2):
        raise ValueError(f"the scale of the quantizer {'/'.join(item.names)[:80]!r} is no scale")
    if scale.shape != zero_point.shape:
        raise ValueError(f"the scale of {'/'.join(item.names)[:80]!r} does not fit its zero point")
    fake.scale, fake.zero_point, fake.enabled = scale, zero_point, item.enabled
    return fake
