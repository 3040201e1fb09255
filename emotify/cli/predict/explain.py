"""`emotify predict --explain`: a picture of each face that shows which part decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Messages
from emotify.files import check_folder, check_temporary_folder, make_folder, printable, safe_stem, write_bytes
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.cli.predict.inputs import Inputs
    from emotify.pictures.reading import Picture
    from emotify.prediction.explanation import Answers
    from emotify.prediction.faces import FaceResult
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.results import PictureResult


@dataclass
class Explainer:
    """Writes `folder`/<picture>-<face>.png for every face. Raises WriteError.

    The folder must be new, unless `force` or `append` is set; `append` keeps its files. Pictures of the same name in
    several folders get a number.
    """

    folder: Path
    messages: Messages
    force: bool = False
    append: bool = False
    faces: int = 0  # explained so far
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        check_temporary_folder()
        check_folder(self.folder, overwrite=self.force, extend=self.append)

    def begin(self) -> None:
        """Make the folder."""
        make_folder(self.folder, exist_ok=True)
        if self.append:
            self._names.update(path.stem.casefold() for path in self.folder.glob("*.png"))

    def add(self, predictor: Predictor, inputs: Inputs, result: PictureResult) -> None:
        """Explain the faces of a result. The picture is read again, as it is too large to keep."""
        from emotify.pictures.reading import Failure, read_picture

        if not result.faces:
            return
        inputs.check_elsewhere(result.path, self.folder, "--explain")
        picture = read_picture(inputs.source(result.path), enough_side=predictor.search.enough_side)
        if isinstance(picture, Failure):
            self.messages.error(f"{printable(result.path)}: not explained: {picture.message}")
            return
        drawn = {}
        for number, face in enumerate(result.faces, 1):
            shown = printable(result.path.name) + (f", face {number}" if len(result.faces) > 1 else "")
            path = self.folder / f"{self._new_name(f'{safe_stem(result.path.stem)}-{number}')}.png"
            drawn[path] = _draw(predictor.session, picture, face, shown)
        for path, content in drawn.items():  # after the slow part, so an interrupt in it leaves no files
            write_bytes(path, content, overwrite=self.force)
        self.faces += len(drawn)

    def written(self) -> str:
        """Return the number of files and their folder as text."""
        return f"{amount(self.faces, 'explanation')} to {printable(self.folder)}"

    def _new_name(self, name: str) -> str:
        found, number = name, 1
        while found.casefold() in self._names:
            number += 1
            found = f"{name}~{number}"
        self._names.add(found.casefold())
        return found


def _draw(session: Answers, picture: Picture, face: FaceResult, name: str) -> bytes:
    from emotify.prediction.crops import classifier_input, colour_crop
    from emotify.prediction.explanation import explain
    from emotify.reports.explanation import SIDE, draw_explanation

    explanation = explain(session, classifier_input(picture, face.square))
    return draw_explanation(colour_crop(picture, face.square, side=SIDE), explanation, name=name)
