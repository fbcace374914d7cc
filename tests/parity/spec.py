"""The vocabulary of a parity program: frozen values only, no torch, no library under test.

A program is data. ``execute`` turns it into objects; the same value gives the same objects on both libraries. Names in
``model``, ``optimizer``, ``criterion``, ``Cb.name`` and so on are keys of the builder tables in ``models``,
``parts_optim``, ``parts_callbacks`` and ``parts_loops``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Plain = None | bool | int | float | str | tuple["Plain", ...]
Options = tuple[tuple[str, Plain], ...]


def options(**values: Plain) -> Options:
    """Keyword arguments as a hashable value, in the order written."""
    return tuple(values.items())


@dataclass(frozen=True)
class Data:
    """The three loaders of a program.

    Attributes:
        kind: which data set; see ``data.DATA_SETS``.
        rows: size of the training set; validation and test sets take a bit more than half.
        batch: batch size.
        form: ``loader`` (DataLoader), ``list`` (list of ready batches), ``stream`` (IterableDataset, no length),
            ``generator`` (DataLoader with its own generator), ``worker`` (DataLoader with one worker process).
        collate: name of a custom collate function, or nothing.
        sets: the loaders that exist beside the training loader.
    """

    kind: str = "regression"
    rows: int = 22
    batch: int = 5
    shuffle: bool = True
    drop_last: bool = False
    form: str = "loader"
    collate: str = ""
    sets: tuple[str, ...] = ("val", "test")


@dataclass(frozen=True)
class Cb:
    """One callback of a ``Fit``.

    Attributes:
        name: key of the callback table.
        options: arguments of its builder.
        key: programs that pass the *same object* twice give both mentions the same key.
    """

    name: str
    options: Options = ()
    key: str = ""


@dataclass(frozen=True)
class Fit:
    """Call ``fit``; ``container`` is the type the callbacks travel in (``list``, ``tuple`` or ``none``)."""

    epochs: Plain = 0
    iterations: Plain = 0
    accumulation: Plain = 1
    callbacks: tuple[Cb, ...] = ()
    container: str = "list"
    via: str = "fit"


@dataclass(frozen=True)
class Call:
    """Call a method of the loop and observe what it returns; ``loader`` names a loader passed as first argument."""

    method: str
    options: Options = ()
    loader: str = ""


@dataclass(frozen=True)
class Do:
    """Run one of the named interventions of ``parts_actions`` between two calls, such as seeding or swapping a loader.

    A hidden intervention leaves no trace in the observation: stand-ins use it to bring the reference to the state that
    is expected of us. A joined one is part of the action before it: the state is looked at after both.
    """

    name: str
    options: Options = ()
    hidden: bool = False
    joined: bool = False


Action = Fit | Call | Do


@dataclass(frozen=True)
class Program:
    """One training script.

    Attributes:
        id: stable, readable name; the pytest id.
        recorders: which observing callbacks ride along: ``both`` (first and last of all), ``epoch`` (a single one with
            epoch hooks only) or ``none``. Few hooks let the loop take its shortest way, so this is an axis as well.
        auto_eval: the argument ``end_auto_eval``.
        loop: name of the ``TrainLoop`` subclass, or nothing.
        loop_options: further keyword arguments of the loop's constructor.
        epilogue: whether all evaluations and predictions are asked for once more at the very end.
        seed: all three global generators start here.
        corrected: ids of the quirks whose *corrected* value is expected of us.
        correction: name of the function in ``corrections`` that turns the reference's observation into
            the expected one.
        stand_in: the program to run on the reference in place of this one, where the corrected result is what the
            reference itself gives when the quirk is stepped around.
        switchable: the corrections can be switched back, and then the unmodified reference is expected.
        pending: why the program cannot pass yet, or nothing; it must fail until the word is taken away.
        smoke: part of the small set that also runs on the oldest supported Lightning.
    """

    id: str
    model: str = "mlp"
    model_options: Options = ()
    data: Data = Data()
    optimizer: str = "sgd"
    optimizer_options: Options = ()
    criterion: str = "mse"
    auto_eval: Plain = True
    loop: str = ""
    loop_options: Options = ()
    recorders: str = "both"
    actions: tuple[Action, ...] = (Fit(epochs=2),)
    epilogue: bool = True
    seed: int = 0
    corrected: tuple[str, ...] = ()
    correction: str = ""
    stand_in: Program | None = None
    switchable: bool = False
    pending: str = ""
    smoke: bool = False


def with_loaders_restored(program: Program) -> Program:
    """``program`` as one that expects ``DataSubsetTestRun`` to give the loaders back after each ``fit`` (Q78)."""
    restore = Do("restore_loaders", hidden=True, joined=True)
    base = program if program.stand_in is None else program.stand_in
    actions = tuple(
        step for action in base.actions for step in ((action, restore) if isinstance(action, Fit) else (action,))
    )
    return replace(program, corrected=(*program.corrected, "Q78"), stand_in=replace(base, actions=actions))
