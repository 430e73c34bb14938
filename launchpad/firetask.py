"""The one Firetask: it carries the id of a calculation and nothing else."""

from typing import Any

from fireworks import FiretaskBase, Firework, FWAction, explicit_serialize


@explicit_serialize
class RunCalculation(FiretaskBase):  # type: ignore[misc]
    """Run the calculation of an id, in whatever worker picks it up, stock ``rlaunch`` included."""

    required_params = ["calculation"]  # noqa: RUF012  (FireWorks reads a plain class attribute)

    def run_task(self, fw_spec: dict[str, Any]) -> Any:
        """Claim, compute and record; a failure raises, which FireWorks calls FIZZLED."""
        del fw_spec
        from alkaflow.launchpad.specs import check_spec
        from alkaflow.launchpad.worker import run_one

        run_one(check_spec({"_tasks": [self.to_dict()]}))
        return FWAction()


def firework_for(calculation: str, parents: "list[Firework] | None" = None, priority: int = 0) -> Firework:
    """Return the firework of a calculation; its name is the id."""
    task = RunCalculation(calculation=calculation)
    return Firework([task], {"_priority": priority}, name=calculation, parents=parents)
