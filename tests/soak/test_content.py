"""What a writer knows of its table, and the digests by which rows are compared."""

import random

import content as contents


def test_a_digest_is_of_rows_and_not_of_their_order():
    names = ["id", "label"]
    assert contents.digest(names, [(1, "a"), (2, None)]) == contents.digest(names, [[2, None], [1, "a"]])
    assert contents.digest(names, [(1, "a")]) != contents.digest(names, [(1, None)])
    assert contents.digest(names, [(1, "a")]) != contents.digest(["id", "name"], [(1, "a")])
    assert contents.digest(names, [(1, "a")]) != contents.digest(names, [(1, "a"), (1, "a")])


def test_rows_of_before_a_column_lack_it_also_when_its_name_was_used():
    content = contents.Content(random.Random(1))
    old = content.new(1)
    first = content.add_column()
    new = content.new(1)
    assert content.rows[new[0]][first.key] is not None
    content.drop_column()
    for _ in range(20):
        again = content.add_column()
        if again.name == first.name:
            break
        content.drop_column()
    assert again.key != first.key
    assert [row[-1] for row in content.tuples(old + new)] == [None, None]


def test_what_is_written_again_differs():
    content = contents.Content(random.Random(1))
    ids = content.new(2)
    before = content.digest()
    content.write(ids[:1])
    assert content.digest() != before
    content.remove(ids)
    assert content.tuples() == []
