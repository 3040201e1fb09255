"""Measure how many of the mistakes that models share come from FER-2013's labels.

python research/label_noise.py RUN RUN ... --data fer2013.csv --ferplus fer2013new.csv

The runs need two heads. The script uses the images of `valid` with a majority of FER+'s votes. It counts the images
that all runs get wrong, against FER-2013's label and against the majority of the votes. It also counts how often a
common wrong answer equals the majority.
"""

from __future__ import annotations

import numpy as np
from majority import read_command_line

from emotify.ensembling.diversity import measure_diversity
from emotify.training.classifier import open_run


def main() -> None:
    """Print the shares."""
    runs, (images, labels, majority) = read_command_line(__doc__)
    answers = [open_run(run, device="cpu").answers(images) for run in runs]
    by_label = np.stack([answer.labels for answer in answers])
    by_crowd = np.stack([answer.crowd for answer in answers if answer.crowd is not None])
    for head, probabilities, truth in (("labels", by_label, labels), ("crowd", by_crowd, majority)):
        shared = measure_diversity(probabilities, truth)
        print(
            f"{head} head against its own truth, {len(truth)} images: all wrong {shared.all_wrong:.1%}, "
            f"two wrong {shared.mean_double_fault:.1%}, error correlation {shared.mean_error_correlation:.2f}"
        )
    predictions = by_label.argmax(2)
    all_wrong = (predictions != labels).all(0)
    alike = all_wrong & (predictions == predictions[0]).all(0)
    print(f"the label is not the majority: {(labels != majority).mean():.1%} of all images")
    print(f"of the {all_wrong.sum()} that all get wrong by the label: {(labels != majority)[all_wrong].mean():.1%}")
    named = (predictions[0] == majority)[alike].mean()
    print(f"of the {alike.sum()} to which all give the same wrong answer, it is the majority's for {named:.1%}")


if __name__ == "__main__":
    main()
