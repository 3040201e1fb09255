"""Short trainings for tests."""

from __future__ import annotations

from emotify.training.loop import Step
from emotify.training.run_folder import close_run, finish_run, new_run


def train(config, dataset, out, *, stop_at=None):
    """Train in a new folder to the end, or save the state at step `stop_at` and stop. Return the run's folder."""
    with new_run(config, dataset, out=out) as training:
        for event in training.run():
            if isinstance(event, Step) and event.number == stop_at:
                training.save_state()
                return training.folder
        close_run(training.folder, finish_run(training))
    return training.folder
