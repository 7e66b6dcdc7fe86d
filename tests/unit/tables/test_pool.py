from __future__ import annotations

from runstore.tables.pool import MAX_SHARED, Packed, Pool


def test_equal_texts_are_kept_once() -> None:
    pool = Pool()
    first, again = "-".join(["train", "loss"]), "-".join(["train", "loss"])
    assert first is not again
    assert pool.share(first) is pool.share(again)


def test_pool_that_is_full_gives_back_what_it_gets() -> None:
    pool = Pool()
    for number in range(MAX_SHARED):
        pool.share(str(number))
    assert pool.share("one more") == "one more"
    assert pool.share("7") == "7"


def test_packed_mapping_has_what_the_mapping_had_and_shares_its_keys() -> None:
    pool = Pool()
    one, other = Packed({"lr": 0.1, "seed": 1.0}, pool), Packed({"lr": 0.2, "seed": 2.0}, pool)
    assert dict(one) == {"lr": 0.1, "seed": 1.0}
    assert (other["seed"], other.get("no"), len(other)) == (2.0, None, 2)
    assert one._keys is other._keys


def test_packed_mapping_is_of_its_time() -> None:
    values = {"lr": 1}
    packed = Packed(values, Pool())
    values["lr"] = 2
    assert packed == {"lr": 1}
