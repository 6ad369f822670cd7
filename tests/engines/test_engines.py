"""Real engines on Lifeboat: what each can do with a table, and that each reads what the others wrote."""

from datetime import date, datetime
from decimal import Decimal

ADA = (1, "Ada", Decimal("12.50"), date(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59, 123456))
BOB = (2, "Bob", Decimal("-0.01"), date(1969, 12, 31), datetime(1969, 12, 31, 0, 0, 0))
EVE = (3, "Ève d'Arc", None, None, None)
DAN = (4, "Dan", Decimal("9999999.99"), date(2038, 1, 19), datetime(2038, 1, 19, 3, 14, 7, 1))


def test_an_engine_takes_a_table_through_its_life(engine, namespace):
    table = f"{namespace}.people"
    engine.create(table)
    assert engine.tables(namespace) == {"people"}
    assert engine.rows(table) == []

    engine.insert(table, [ADA, BOB])
    first = engine.snapshots(table)[-1]
    engine.insert(table, [EVE, DAN])
    assert engine.rows(table) == [ADA, BOB, EVE, DAN]

    engine.rename_person(table, 2, "Rob")
    rob = (2, "Rob", *BOB[2:])
    assert engine.rows(table) == [ADA, rob, EVE, DAN]
    engine.delete(table, 1)
    assert engine.rows(table) == [rob, EVE, DAN]

    assert engine.rows(table, snapshot_id=first) == [ADA, BOB]

    engine.add_column(table, "note")
    assert engine.rows(table) == [(*row, None) for row in (rob, EVE, DAN)]
    engine.insert(table, [(*ADA, "back")])
    assert engine.rows(table) == [(*ADA, "back")] + [(*row, None) for row in (rob, EVE, DAN)]

    engine.drop(table)
    assert engine.tables(namespace) == set()
    engine.drop_namespace(namespace)


def test_every_engine_reads_what_one_wrote_and_writes_on(target, engine, namespace):
    table = f"{namespace}.people"
    engine.create(table)
    engine.insert(table, [ADA, BOB, EVE])
    engine.delete(table, 2)
    engine.rename_person(table, 3, "Eve")
    expected = [ADA, (3, "Eve", *EVE[2:])]
    for reader in target.engines.values():
        assert reader.rows(table) == expected, f"{reader.name} reads what {engine.name} wrote"

    # Each of the others adds a row and takes one away, on top of what was done before it.
    for turn, writer in enumerate(other for other in target.engines.values() if other is not engine):
        kept, gone = 100 + turn, 200 + turn
        writer.insert(table, [(kept, writer.name, *DAN[2:]), (gone, "gone", *BOB[2:])])
        writer.delete(table, gone)
        expected.append((kept, writer.name, *DAN[2:]))
        for reader in target.engines.values():
            assert reader.rows(table) == expected, f"{reader.name} reads after {writer.name} wrote on"

    engine.drop(table)
    engine.drop_namespace(namespace)
