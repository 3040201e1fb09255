"""Read labelled images: FER-2013's csv, archives of it, class folders, and synthetic faces."""

from emotify.choices import Split
from emotify.data.class_folders import ClassRules
from emotify.data.duplicates import describe_duplicates, duplicates_in, near_duplicates_in
from emotify.data.ferplus import VOTES
from emotify.data.read import find_data, find_ferplus, read_dataset
from emotify.data.types import Dataset, LabelledImages
from emotify.pictures.pixels import IMAGE_SIZE

__all__ = [
    "IMAGE_SIZE",
    "VOTES",
    "ClassRules",
    "Dataset",
    "LabelledImages",
    "Split",
    "describe_duplicates",
    "duplicates_in",
    "find_data",
    "find_ferplus",
    "near_duplicates_in",
    "read_dataset",
]
