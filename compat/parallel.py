"""Parallel wrappers: a model on several devices that still answers ``get_loss`` and ``get_predictions``.

The old wrappers ran the model's methods with themselves as ``self``: ``self(x)`` was the parallel forward, and of the
model only its methods and the listed attributes could be reached. Here ``self`` is a view of the model. It is an
instance of the model's class and shares its attributes, so that submodules, ``super()``, static methods and whatever an
attribute holds work (quirk Q65). What the old ``self`` had goes on working: calling it is the parallel forward, it has
``module``, and methods of ``torch.nn.Module`` are the wrapper's.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import MethodType
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from compat.exceptions import MissingAttributeError

__all__ = ["TTDataParallel", "TTDistributedDataParallel", "TTParallelBase"]

_CORE = ("get_loss", "get_loss_eval", "get_predictions")
# What sets a parameter, a buffer or a submodule; setting an attribute comes here too.
_SETTERS = {"add_module", "register_buffer", "register_module", "register_parameter"}
# What a view takes from the wrapper even where the model has it as well.
_OF_WRAPPER = (frozenset(name for name in dir(nn.Module) if not name.startswith("_")) | {*_CORE}) - _SETTERS


class TTParallelBase:
    """Lends a wrapper the methods of the model that it wraps.

    Attributes that the model lists in ``transfer_model_attributes`` are copied when the wrapper is made; later changes
    on one side are not seen on the other. All other attributes are read from the model.

    Args:
        module: The model, with the methods of :class:`compat.model.TTModel`.
        default_model_methods: What the old wrapper did not transfer, since it had methods of its own for these. Every
            method can be reached here.

    Raises:
        MissingAttributeError: The model lacks one of these methods, or an attribute that it lists for transfer.
    """

    def __init__(self, module: Any, default_model_methods: Sequence[str] = _CORE) -> None:
        """Copy the listed attributes; a wrapper that is a torch module has been set up as one before."""
        _check_model(type(self).__name__, module)
        # Out of reach of nn.Module, for which it would be a second submodule.
        if "module" not in self.__dict__.get("_modules", {}):
            self.__dict__["_compat_model"] = module
        self.__dict__["_compat_machinery"] = frozenset([*self.__dict__, "_compat_machinery"])
        for name in _listed(module):
            # An attribute `dim` of the model is none of nn.DataParallel; the model goes on finding its own.
            if name not in self.__dict__["_compat_machinery"]:
                setattr(self, name, getattr(module, name))

    @property
    def get_loss_fn(self) -> Callable[..., Any]:
        """The model's ``get_loss`` as a function, ``self`` its first argument."""
        return _unbound(_model_of(self), "get_loss")

    @property
    def get_loss_eval_fn(self) -> Callable[..., Any]:
        """The model's ``get_loss_eval`` as a function, ``self`` its first argument."""
        return _unbound(_model_of(self), "get_loss_eval")

    @property
    def get_predictions_fn(self) -> Callable[..., Any]:
        """The model's ``get_predictions`` as a function, ``self`` its first argument."""
        return _unbound(_model_of(self), "get_predictions")

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the training loss of a batch by the model's method, its forward in parallel.

        Args:
            batch_data: What the loader yields.
            criterion: The loop's criterion, or ``None`` if it has none.
            device: Where the model is.

        Returns:
            What the model's method returns. A loss that the model's ``forward`` computes has one entry a replica where
            there are several, ``(R,)``, and is to be reduced by the model.
        """
        return self.get_loss_fn(_view(self), batch_data, criterion, device)

    def get_loss_eval(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the loss of a batch in an evaluation by the model's method, its forward in parallel."""
        return self.get_loss_eval_fn(_view(self), batch_data, criterion, device)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Compute the predictions of a batch by the model's method, its forward in parallel.

        Args:
            batch_data: What the loader yields.
            device: Where the model is.

        Returns:
            What the model's method returns: predictions, targets and metadata.
        """
        return self.get_predictions_fn(_view(self), batch_data, device)

    def __getattr__(self, name: str) -> Any:
        """Find what the wrapper lacks in the model; its methods have the parallel forward."""
        return _from_model(self, name, AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}"))


class TTDataParallel(nn.DataParallel, TTParallelBase):  # type: ignore[type-arg]  # generic for type checkers alone
    """``torch.nn.DataParallel`` round a model that knows its loss: a batch is cut into a part for each device.

    The keys of its state dict begin with ``module.``. Without CUDA the model runs as it is.

    Args:
        module: The model.
        default_model_methods: See :class:`TTParallelBase`.
        kwargs: Arguments of ``torch.nn.DataParallel``: ``device_ids``, ``output_device``, ``dim``.

    Raises:
        MissingAttributeError: The model lacks a method, or an attribute that it lists for transfer.
        TypeError: An argument that ``torch.nn.DataParallel`` does not have.
    """

    def __init__(self, module: Any, default_model_methods: Sequence[str] = _CORE, **kwargs: Any) -> None:
        """Wrap the model."""
        _check_model(type(self).__name__, module)
        nn.DataParallel.__init__(self, module, **kwargs)
        TTParallelBase.__init__(self, module, default_model_methods)

    def __getattr__(self, name: str) -> Any:
        """Find what the wrapper lacks in the model; its methods have the parallel forward."""
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            return _from_model(self, name, error)


class TTDistributedDataParallel(TTParallelBase, DistributedDataParallel):
    """``torch.nn.parallel.DistributedDataParallel`` round a model that knows its loss.

    The process group is there before: ``torch.distributed.init_process_group``.

    Args:
        module: The model.
        default_model_methods: See :class:`TTParallelBase`.
        kwargs: Arguments of ``torch.nn.parallel.DistributedDataParallel``.

    Raises:
        MissingAttributeError: The model lacks a method, or an attribute that it lists for transfer.
        ValueError: There is no process group.
        TypeError: An argument that ``DistributedDataParallel`` does not have.
    """

    def __init__(self, module: Any, default_model_methods: Sequence[str] = _CORE, **kwargs: Any) -> None:
        """Wrap the model."""
        _check_model(type(self).__name__, module)
        DistributedDataParallel.__init__(self, module, **kwargs)
        TTParallelBase.__init__(self, module, default_model_methods)

    def __getattr__(self, name: str) -> Any:
        """Find what the wrapper lacks in the model; its methods have the parallel forward."""
        try:
            return nn.Module.__getattr__(self, name)
        except AttributeError as error:
            return _from_model(self, name, error)


class _View:
    """The model as its own methods see it while they run through a wrapper; see the head of this file."""

    _compat_wrapper: Any

    def __init_subclass__(cls, **_: Any) -> None:
        """Keep the making of a view from whatever the model's class does about its subclasses."""

    # Also what the user asks for the class gets it: a subclass that nobody wrote would be met nowhere else.
    __class__ = property(lambda self: type(_model_of(_wrapper_of(self))))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _wrapper_of(self)(*args, **kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            return super().__getattribute__(name)
        wrapper = _wrapper_of(self)
        if _comes_first(wrapper, name):
            return getattr(wrapper, name)
        is_own = name in object.__getattribute__(self, "__dict__")
        if not is_own and name in _OF_WRAPPER and hasattr(type(wrapper), name):
            return _found_on(wrapper, name)
        value = super().__getattribute__(name)
        if isinstance(value, MethodType):
            return _seen_from(self, value)
        return value

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]  # every model has one: that of nn.Module
        except AttributeError:
            wrapper = _wrapper_of(self)
            if name in wrapper.__dict__ or hasattr(type(wrapper), name):
                return _found_on(wrapper, name)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        wrapper = _wrapper_of(self)
        if name != "module" and _comes_first(wrapper, name):
            setattr(wrapper, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        wrapper = _wrapper_of(self)
        if _carries(wrapper, name):
            delattr(wrapper, name)
        else:
            super().__delattr__(name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A copy of `self` has always been one of the wrapper.
        return _wrapper_of(self).__reduce_ex__(protocol)


def _wrapper_of(view: Any) -> Any:
    return object.__getattribute__(view, "_compat_wrapper")


def _model_of(wrapper: Any) -> Any:
    own = object.__getattribute__(wrapper, "__dict__")
    return own["_compat_model"] if "_compat_model" in own else own["_modules"]["module"]


def _found_on(wrapper: Any, name: str) -> Any:
    """Read an attribute of the wrapper's own; where that fails, it must not look for it in the model again."""
    find: Any = type(wrapper).__getattribute__
    return find(wrapper, name)


def _carries(wrapper: Any, name: str) -> bool:
    """Tell whether an attribute of the wrapper was copied from the model or set by the user."""
    return name in wrapper.__dict__ and name not in wrapper.__dict__["_compat_machinery"]


def _comes_first(wrapper: Any, name: str) -> bool:
    """Tell whether the wrapper answers for an attribute, whatever the model has."""
    if name == "module":
        return name in wrapper.__dict__.get("_modules", {})
    return (name == "training" and name in wrapper.__dict__) or _carries(wrapper, name)


def _seen_from(view: Any, method: MethodType) -> Any:
    """Bind a method that is bound to the model, or to the view's class, as the model's code means it."""
    model, owner = _model_of(_wrapper_of(view)), method.__self__
    if owner is model:
        return MethodType(method.__func__, view)
    return MethodType(method.__func__, type(model)) if owner is type(view) else method


@lru_cache(maxsize=64)
def _view_class(cls: type) -> type:
    body = {"__slots__": ("_compat_wrapper",), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    # Past the metaclass's own code, which may keep a list of all models.
    made: type = type.__new__(type(cls), cls.__name__, (_View, cls), body)
    return made


def _view(wrapper: Any) -> Any:
    """Make the `self` of the model's methods: the model's class and attributes, and the wrapper's forward."""
    model = _model_of(wrapper)
    cls: Any = type(model)
    view: Any = object.__new__(_view_class(cls))
    object.__setattr__(view, "_compat_wrapper", wrapper)
    object.__setattr__(view, "__dict__", model.__dict__)
    return view


def _from_model(wrapper: Any, name: str, missing: AttributeError) -> Any:
    """Find an attribute that the wrapper lacks in the model.

    Args:
        wrapper: The wrapper; one that is being read from a pickle has no model yet.
        name: The attribute.
        missing: What to raise if the model lacks it too.
    """
    # The double underscores are Python's own questions, which are asked about the wrapper itself.
    if (name.startswith("__") and name.endswith("__")) or "_compat_machinery" not in wrapper.__dict__:
        raise missing
    try:
        return getattr(_view(wrapper), name)
    except AttributeError:
        raise missing from None


def _unbound(model: Any, name: str) -> Callable[..., Any]:
    method = getattr(model, name)
    if getattr(method, "__self__", None) is model:
        function: Callable[..., Any] = method.__func__
        return function
    # Put on the object by hand, and so called without `self`.
    return lambda _self, *args, **kwargs: method(*args, **kwargs)


def _listed(model: Any) -> list[str]:
    listed = getattr(model, "transfer_model_attributes", None)
    return list(listed) if isinstance(listed, list | tuple) else []


def _check_model(wrapper: str, model: Any) -> None:
    lacking = [name for name in _CORE if not hasattr(model, name)]
    if lacking:
        raise MissingAttributeError(
            f"{wrapper} got a {type(model).__name__}, which has no {', '.join(lacking)}. Wrap a TTModel, or a plain"
            " module in torch.nn.DataParallel."
        )
    absent = [name for name in _listed(model) if not hasattr(model, name)]
    if absent:
        raise MissingAttributeError(
            f"{type(model).__name__}.transfer_model_attributes lists {', '.join(map(repr, absent))}, which the model"
            " does not have. Set it in the constructor, or take it off the list."
        )
