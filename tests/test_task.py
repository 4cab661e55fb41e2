import dataclasses

import pytest

from pipeline.errors import DatasetError, UsageError
from pipeline.features import Feature
from train.task import find_task, make_task

IMAGE = Feature(name="image", column="image", encoding="bytes", dtype="uint8", shape=(5, 4))
LABEL = Feature(
    name="label",
    column="label",
    encoding="int64_list",
    dtype="int64",
    num_classes=2,
    names=("a", "b"),
)
INDEX = Feature(name="index", column=None, encoding="int64_list", dtype="int64")
HEIGHT = Feature(name="height", column=None, encoding="int64_list", dtype="int64", constant=5)
OTHER = Feature(name="age", column="age", encoding="int64_list", dtype="int64")
MASK = Feature(name="mask", column="mask", encoding="bytes", dtype="uint8", shape=(5, 4))
ONE_HOT = Feature(
    name="label",
    column="label",
    encoding="bytes",
    dtype="float64",
    shape=(10,),
    one_hot=True,
    num_classes=10,
)


def test_constants_and_the_index_are_no_candidates():
    assert find_task([HEIGHT, IMAGE, INDEX, LABEL]) == (IMAGE, LABEL)


def test_a_feature_with_classes_wins_over_other_integers():
    assert find_task([OTHER, IMAGE, LABEL])[1] == LABEL
    assert find_task([OTHER, IMAGE])[1] == OTHER
    assert find_task([OTHER, IMAGE, LABEL], label_feature="age")[1] == OTHER


def test_one_hot_labels():
    task = make_task(*find_task([IMAGE, ONE_HOT]))
    assert (task.one_hot, task.num_classes, task.class_names[9]) == (True, 10, "9")


def test_class_names_come_from_the_feature_or_are_numbers():
    assert make_task(IMAGE, LABEL).class_names == ("a", "b")
    assert make_task(IMAGE, OTHER, 3).class_names == ("0", "1", "2")


def test_no_label():
    with pytest.raises(
        DatasetError, match="label feature: wanted exactly one candidate, found none"
    ):
        find_task([IMAGE, INDEX])


def test_two_images():
    with pytest.raises(
        DatasetError, match=r"found image, mask among .*name one with --image_feature"
    ):
        find_task([IMAGE, MASK, LABEL])
    assert find_task([IMAGE, MASK, LABEL], image_feature="mask")[0] == MASK


def test_a_wish_that_is_not_there():
    with pytest.raises(UsageError, match=r"--image_feature picture: is no feature .*image \(uint8"):
        find_task([IMAGE, LABEL], image_feature="picture")
    with pytest.raises(UsageError, match="--label_feature image: is no feature"):
        find_task([IMAGE, LABEL], label_feature="image")


def test_features_of_varying_length_are_no_candidates():
    film = dataclasses.replace(IMAGE, name="film", column="film", sequence="context")
    length = dataclasses.replace(OTHER, name="film_length", length_of="film")
    assert find_task([film, length, IMAGE, OTHER]) == (IMAGE, OTHER)
    with pytest.raises(
        DatasetError, match="image feature: wanted exactly one candidate, found none"
    ):
        find_task([film, length, LABEL])
