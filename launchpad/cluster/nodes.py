"""Which hosts a job may land on."""

import re
import socket

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
