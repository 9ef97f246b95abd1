"""How much a run generates at most, known before it starts."""

from __future__ import annotations

from collections.abc import Iterable

from parity.case.load import Case
from parity.cost.estimate import Job, job_of_run
from parity.cost.machine import Machine, ram_free, this_machine
from parity.diagnosis.counterfactuals import make_plan
from parity.diagnosis.quick import make_quick_plan
from parity.run.task import Task
from pipelines.engine.engine import Engine
from pipelines.limits import why_beyond_bounds, within_limits


def jobs_of(cases: Iterable[Case], task: Task) -> list[Job]:
    """The jobs that this machine has with cases; none for a case that cannot be generated, or is on a server alone."""
    return [job for case in cases if (job := _job(case, task)) is not None]


def _job(case: Case, task: Task) -> Job | None:
    both = (within_limits(case.inference), within_limits(case.preview))
    if task.search:  # as many as it takes, which is not known before
        return None if case.preview.obstacles else Job(recipes=both[1:], generations=0, steps=0, token=case.token)
    if task.diagnose is None:
        return job_of_run(case, task.repeat or 1)
    if any(recipe.obstacles or why_beyond_bounds(recipe) for recipe in both):
        return None
    if task.diagnose == "quick":
        quick = make_quick_plan(case)
        steps = quick.cost * case.preview.steps
        return Job(recipes=both, generations=quick.cost, steps=steps, token=case.token)
    plan = make_plan(case, "gains" if task.diagnose == "gains" else "full")
    generations, steps = float(plan.cost), float(plan.denoising_steps)
    if task.budget is not None and task.budget < generations:
        generations, steps = task.budget, steps * task.budget / generations
    return Job(recipes=both, generations=generations, steps=steps, token=case.token)


def machine_under(engine: Engine) -> Machine:
    """The machine as an engine uses it: with the GPU of its device, if that is one."""
    if engine.device.type != "cuda":
        return this_machine(gpu=False)
    import torch

    properties = torch.cuda.get_device_properties(engine.device)
    return Machine(gpu=properties.name, gpu_total=properties.total_memory, ram_free=ram_free())
