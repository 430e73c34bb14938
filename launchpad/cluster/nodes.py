"""Which hosts a job may land on."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from alkaflow.errors import BadInputError

_FIELD = re.compile(r"(?:^|\s)(NodeName|NodeHostName|PartitionName|Partitions|Default)=(\S*)")


def hosts_of_partition(nodes: str, partitions: str, wanted: str | None) -> dict[str, str]:
    """Host names by node name, of the nodes of a partition.

    Parameters
    ----------
    nodes
        What ``scontrol show node -o`` says.
    partitions
        What ``scontrol show partition -o`` says.
    wanted
        The partition, or several with commas; None for the default one.

    Raises
    ------
    BadInputError
        Slurm has no such partition, or no default one.
    """
    known: dict[str, bool] = {}
    for line in partitions.splitlines():
        fields = _fields(line)
        if "PartitionName" in fields:
            known[fields["PartitionName"]] = fields.get("Default") == "YES"
    chosen = set(wanted.split(",")) if wanted else {name for name, default in known.items() if default}
    if missing := sorted(chosen - known.keys()):
        raise BadInputError(f"Slurm has no partition {missing[0]!r}; it has {', '.join(sorted(known)) or 'none'}")
    if not chosen:
        raise BadInputError(
            f"Slurm has no default partition; set cluster.partition to one of {', '.join(sorted(known))}"
        )
    hosts: dict[str, str] = {}
    for line in nodes.splitlines():
        fields = _fields(line)
        if "NodeName" in fields and chosen & set(fields.get("Partitions", "").split(",")):
            hosts[fields["NodeName"]] = fields.get("NodeHostName", fields["NodeName"])
    return hosts


def _fields(line: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in _FIELD.findall(line)}


@dataclass(frozen=True)
class Size:
    """What a node has: cores, memory [MiB], and generic resources by name, or by name and type."""

    node: str
    cores: int
    memory_mib: int
    gres: dict[str, int]


def sizes(text: str, wanted: str | None) -> list[Size]:
    """Nodes of a partition, or of several with commas; of the default one without.

    Parameters
    ----------
    text
        What ``sinfo -h -N -o '%P|%N|%c|%m|%G'`` says.
    wanted
        The partition.
    """
    chosen = set(wanted.split(",")) if wanted else None
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 5:
            continue
        partition, node, cores, memory, gres = parts
        ours = partition.rstrip("*") in chosen if chosen is not None else partition.endswith("*")
        if ours and (numbers := (_whole(cores), _whole(memory))) and None not in numbers:
            found.append(Size(node, numbers[0] or 0, numbers[1] or 0, _gres(gres)))
    return found


def why_too_large(nodes: Sequence[Size], cores: int, memory_mib: int, gres: str | None, where: str) -> str | None:
    """Why no node can ever run a job, in one sentence with the next step; None where one can, or nothing is known.

    Parameters
    ----------
    nodes
        Those that it may land on.
    cores, memory_mib, gres
        What it asks for.
    where
        The partition, for the sentence.
    """
    if not nodes:
        return None
    asked = _gres(gres or "")
    most_cores, most_memory = max(n.cores for n in nodes), max(n.memory_mib for n in nodes)
    if cores > most_cores:
        return f"a job asks for {cores} cores, and no node of {where} has more than {most_cores}; give fewer --cores"
    if memory_mib > most_memory:
        return (
            f"a job asks for {memory_mib} MiB of memory, and no node of {where} has more than {most_memory}; give less "
            "--memory-mb, or a smaller --pack where the memory follows from the estimates"
        )
    for name, number in asked.items():
        most = max(n.gres.get(name, 0) for n in nodes)
        if number > most:
            has = f"has more than {most}" if most else "has any"
            return f"a job asks for {number} of the resource {name}, and no node of {where} {has}; give another --gres"
    if not any(
        n.cores >= cores and n.memory_mib >= memory_mib and all(n.gres.get(k, 0) >= v for k, v in asked.items())
        for n in nodes
    ):
        wanted = f"{cores} cores, {memory_mib} MiB" + (f" and {gres}" if gres else "")
        return f"a job asks for {wanted}, and no node of {where} has all of it; give fewer --cores or less --memory-mb"
    return None


def _whole(text: str) -> int | None:
    """A number of sinfo, which adds a plus where nodes differ."""
    digits = text.rstrip("+")
    return int(digits) if digits.isdigit() else None


def _gres(text: str) -> dict[str, int]:
    """Resources by name, and by name and type: ``gpu:a100:2(S:0-1)`` is two gpu and two gpu:a100."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        names = part.strip().split(":")
        count = 1
        if len(names) > 1 and names[-1].isdigit():
            count = int(names.pop())
        for size in range(1, len(names) + 1) if names[0] else ():
            name = ":".join(names[:size])
            found[name] = found.get(name, 0) + count
    return found


def all_hosts(nodes: str) -> set[str]:
    """Names of every node and of every host, from ``scontrol show node -o`` or PBS's ``pbsnodes -a``."""
    names = re.findall(r"(?:NodeName|NodeHostName)=(\S+)", nodes)
    names += re.findall(r"(?m)^\s+Mom = (\S+)", nodes)
    return {short(name) for name in names}


def other_hosts(hosts: dict[str, str], here: str | None = None) -> list[str]:
    """Names of the nodes that are not this host."""
    this = short(here if here is not None else socket.gethostname())
    return sorted(node for node, host in hosts.items() if short(host) != this)


def short(name: str) -> str:
    """A host's name without its domain, in lower case."""
    return name.partition(".")[0].lower()
