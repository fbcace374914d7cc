"""What is learned of the checked files: it grows, and tells when it does."""

from compat.migrate import names
from compat.migrate.values import (
    Elements,
    Facts,
    Function,
    Instance,
    Local,
    LocalClass,
    Outside,
    Thing,
)

LOOP = Thing(names.find("aitoolbox.TrainLoop"))
MINE, YOURS = Local("f", 0, 1, "Mine"), Local("f", 0, 2, "Yours")


def related() -> Facts:
    return Facts(
        classes={
            MINE: LocalClass(bases=[frozenset({LOOP, YOURS})]),
            YOURS: LocalClass(bases=[frozenset({MINE}), frozenset({Outside("x")})], has_foreign_bases=True),
        }
    )


def test_what_is_known_already_does_not_count_as_learned() -> None:
    facts = Facts()
    known = facts.names.setdefault(("f", 0, 0, ""), {}).setdefault("x", set())
    facts.learn(known, frozenset({LOOP}))
    facts.store("row", "name")
    assert facts.size == 2
    facts.learn(known, frozenset({LOOP}))
    facts.store("row", "name")
    assert facts.size == 2


def test_circles_of_bases_end() -> None:
    facts = related()
    assert [key for key, _ in facts.lineage(MINE)] == [MINE, YOURS]
    assert facts.old_bases(YOURS) == [LOOP]
    assert facts.is_open(MINE)
    assert list(facts.lineage(Local("f", 0, 3, "Nobody"))) == []


def test_what_has_to_do_with_the_old_library() -> None:
    facts = related()
    make = Function("f", 0, 9)
    facts.returns[("f", 0, 9)] = {Instance(MINE), make}
    holder = Local("f", 0, 5, "Holder")
    facts.classes[holder] = LocalClass()
    assert not facts.is_old(holder)
    facts.classes[holder].attributes["loop"].add(Instance(LOOP))
    old = (LOOP, Instance(LOOP), MINE, Instance(YOURS), make, Elements(frozenset({MINE})), holder)
    assert all(facts.is_old(value) for value in old)
    facts.returns[("f", 0, 8)] = {Function("f", 0, 8)}
    assert not any(facts.is_old(value) for value in (Outside("x"), Function("f", 0, 8), Elements(frozenset())))
