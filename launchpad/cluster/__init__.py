"""Slurm and PBS: job scripts through FireWorks' adapter, what became of jobs, and freeing what dead ones held."""
