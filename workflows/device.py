"""SCF cycles and gradients on a GPU by gpu4pyscf; every energy that is kept is evaluated once more on the CPU.

Before the first calculation of a process a sentinel, a small doublet, is computed on both, and must agree. After an
SCF on the GPU its orbitals are put on the CPU's object, which builds one Fock matrix from them: where that does not
confirm the energy and the orbital gradient, the CPU goes on from there.

Imported only by the process that computes; `require_gpu` also by the command line, before anything is written.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from alkaflow.errors import CalculationError, ServiceError
from alkaflow.structures import FloatArray
from alkaflow.workflows import interrupt
from alkaflow.workflows.ladder import adopt_orbitals, converge
from alkaflow.workflows.scf_log import Keep

Device = Literal["cpu", "gpu"]
Watch = Callable[[dict[str, Any]], None]

ENERGY_TOLERANCE = 1e-6
"""Of the sentinel [Hartree]."""

GRADIENT_TOLERANCE = 1e-5
"""Of the sentinel, largest component [Hartree/bohr]."""


@dataclass(frozen=True)
class Sentinel:
    """By how much the GPU differs from the CPU for a small molecule: energy [Hartree], gradient [Hartree/bohr]."""

    level: str
    energy_difference: float
    gradient_difference: float

    @property
    def agrees(self) -> bool:
        """Whether both differences are small enough; one that is not a number is not."""
        return self.energy_difference < ENERGY_TOLERANCE and self.gradient_difference < GRADIENT_TOLERANCE


def require_gpu() -> None:
    """Make sure that gpu4pyscf is installed and sees a GPU.

    Raises
    ------
    ServiceError
        It does not; says what is missing and what to do.
    """
    try:
        import cupy
        import gpu4pyscf  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        missing = str(error).splitlines()[0] or type(error).__name__
        raise ServiceError(
            f"device 'gpu' was asked for, but gpu4pyscf cannot be used here ({missing}); install it with "
            "pip install 'alkaflow[gpu]', or set the device to 'cpu'"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ServiceError(
            f"device 'gpu' was asked for, but there is none ({error}); set the device to 'cpu'"
        ) from None
    if not count:
        raise ServiceError("device 'gpu' was asked for, but this machine has none; set the device to 'cpu'")


def compare(level: str, reference: tuple[float, FloatArray], other: tuple[float, FloatArray]) -> Sentinel:
    """Compare energies [Hartree] and gradients [Hartree/bohr] of the sentinel.

    Raises
    ------
    CalculationError
        ``engine_crashed``: they do not agree, or are not finite.
    """
    found = Sentinel(
        level=level,
        energy_difference=abs(reference[0] - other[0]),
        gradient_difference=float(np.abs(np.asarray(reference[1]) - np.asarray(other[1])).max()),
    )
    if not found.agrees:
        raise CalculationError(
            "engine_crashed",
            f"the GPU disagrees with the CPU on the sentinel at {level}: energy by {found.energy_difference:.1e} "
            f"Hartree, gradient by {found.gradient_difference:.1e} Hartree/bohr; set the device to 'cpu'",
        )
    return found


def energy_and_gradient(mean_field: Any, density: Any = None) -> tuple[float, FloatArray]:
    """Converge a PySCF or gpu4pyscf object; energy [Hartree] and gradient [Hartree/bohr]."""
    mean_field.kernel(dm0=density)
    return float(mean_field.e_tot), as_numpy(mean_field.nuc_grad_method().kernel())


def as_numpy(array: Any) -> FloatArray:
    """An array of either device in the memory of the CPU."""
    return np.asarray(array.get() if hasattr(array, "get") else array, dtype=float)


def on_gpu(mean_field: Any) -> Any:
    """A gpu4pyscf object with the molecule and settings of a PySCF one."""
    return mean_field.copy().to_gpu()


class Cpu:
    """PySCF, with potentials and gradients by loops of our own where they can do it, or all as it is.

    Parameters
    ----------
    fast_kernels
        Whether to use `quadrature`, `fitted_repulsion` and `fitted_gradient`.
    """

    name: Device = "cpu"
    sentinel: Sentinel | None = None
    fast_kernels = True

    def __init__(self, fast_kernels: bool = True) -> None:
        self.fast_kernels = fast_kernels

    @contextmanager
    def kernels(self, mean_field: Any) -> Iterator[None]:
        """Let an object use the loops of our own meanwhile, where they can do what it asks for."""
        from alkaflow.workflows.fitted_repulsion import symmetric_exchange
        from alkaflow.workflows.own_threads import alone_where_small
        from alkaflow.workflows.quadrature import dense_quadrature

        with ExitStack() as stack:
            if self.fast_kernels:
                stack.enter_context(symmetric_exchange(mean_field))
                stack.enter_context(dense_quadrature(mean_field))
                if getattr(mean_field, "with_solvent", None) is None:  # a cavity has more points than functions
                    stack.enter_context(alone_where_small(mean_field.mol.nao))
            yield

    def converge(
        self, mean_field: Any, density: Any, watch: Watch | None, keep: Keep | None = None
    ) -> list[dict[str, Any]]:
        """Converge an SCF as `ladder.converge` does; returns the corrections that were needed."""
        with self.kernels(mean_field):
            return converge(mean_field, density, watch, keep=keep)

    def gradient(self, mean_field: Any, grid_response: bool = False) -> FloatArray:
        """Gradient [Hartree/bohr] of a converged object, shape=(n_atoms, 3)."""
        from alkaflow.workflows.fitted_gradient import fitted_gradient, supports

        if self.fast_kernels and supports(mean_field):
            return fitted_gradient(mean_field, grid_response)
        return _gradient(mean_field, grid_response)


class Gpu(Cpu):
    """DIIS and gradients by gpu4pyscf, all else by PySCF.

    Raises
    ------
    ServiceError
        There is no GPU.
    CalculationError
        ``engine_crashed``: the sentinel differs.
    """

    name: Device = "gpu"

    def __init__(self, fast_kernels: bool = True) -> None:
        super().__init__(fast_kernels)
        require_gpu()
        self.sentinel = run_sentinel()

    def converge(
        self, mean_field: Any, density: Any, watch: Watch | None, keep: Keep | None = None
    ) -> list[dict[str, Any]]:
        """Converge by DIIS on the GPU, confirm it by one Fock matrix of the CPU; the CPU goes on where that fails.

        Raises
        ------
        CalculationError
            As `ladder.converge`, and ``out_of_memory`` where the GPU has too little.
        """
        import cupy

        def after_cycle(state: dict[str, Any]) -> None:
            if watch is not None:
                watch(state)
            if keep is not None:
                keep(state, [])
            interrupt.check()

        accelerated = on_gpu(mean_field)
        accelerated.callback = after_cycle
        try:
            accelerated.kernel(dm0=mean_field.get_init_guess() if density is None else density)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise CalculationError("out_of_memory", f"the GPU has too little memory: {error}") from None
        coefficients, occupations = as_numpy(accelerated.mo_coeff), as_numpy(accelerated.mo_occ)
        # gpu4pyscf shows its cycles to nobody: this is the first that can be saved, and where it can be stopped
        adopt_orbitals(mean_field, coefficients, occupations, float(accelerated.e_tot), after_cycle)
        if accelerated.converged and mean_field.converged:
            return []
        return super().converge(mean_field, mean_field.make_rdm1(), watch, keep)

    def gradient(self, mean_field: Any, grid_response: bool = False) -> FloatArray:
        """Gradient [Hartree/bohr] of a converged PySCF object, by its copy on the GPU."""
        import cupy

        accelerated = on_gpu(mean_field)
        for name in ("mo_coeff", "mo_occ", "mo_energy"):
            setattr(accelerated, name, cupy.asarray(getattr(mean_field, name)))
        accelerated.e_tot, accelerated.converged = mean_field.e_tot, mean_field.converged
        return _gradient(accelerated, grid_response)


CPU = Cpu()


def get_device(name: Device, fast_kernels: bool = True) -> Cpu:
    """The device of that name, ready to compute."""
    return Gpu(fast_kernels) if name == "gpu" else Cpu(fast_kernels)


def _gradient(mean_field: Any, grid_response: bool) -> FloatArray:
    gradients = mean_field.nuc_grad_method()
    gradients.grid_response = grid_response
    return as_numpy(gradients.kernel())


def run_sentinel() -> Sentinel:
    """Compute water with lithium, a doublet, with density fitting and dispersion on both devices and compare.

    Raises
    ------
    CalculationError
        ``engine_crashed``: they do not agree.
    """
    from alkaflow.levels import KohnSham, parse_level
    from alkaflow.structures import Structure
    from alkaflow.workflows.grids import set_grid
    from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

    level = parse_level("b3lyp-d3bj/6-31g(d,p)")
    if not isinstance(level, KohnSham):
        raise TypeError(level)
    tight = level.model_copy(update={"energy_threshold": 1e-10, "gradient_threshold": 1e-6})
    positions = np.array([[0.0, 0.0, 0.0], [0.76, 0.0, 0.59], [-0.76, 0.0, 0.59], [0.0, 0.0, -1.9]])
    structure = Structure(("O", "H", "H", "Li"), positions, 0, 2)
    mean_field = build_mean_field(build_molecule(structure, tight, 2000), tight)
    set_grid(mean_field, tight.grid)
    accelerated = on_gpu(mean_field)
    density = mean_field.get_init_guess()
    reference = energy_and_gradient(mean_field, density)
    return compare(str(level), reference, energy_and_gradient(accelerated, density))
