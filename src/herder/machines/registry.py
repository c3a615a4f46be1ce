"""All tables, by kind and by the code that the log stores."""

from __future__ import annotations

from herder.machines.archive import ARCHIVE
from herder.machines.dependency import DEPENDENCY
from herder.machines.destroy import DESTROY
from herder.machines.failover import FAILOVER
from herder.machines.freeze import FREEZE
from herder.machines.incident import INCIDENT
from herder.machines.member import MEMBER
from herder.machines.page import PAGE
from herder.machines.provision import PROVISION
from herder.machines.rebuild import REBUILD
from herder.machines.restart import RESTART
from herder.machines.rollout import ROLLOUT
from herder.machines.server import SERVER
from herder.machines.service import SERVICE
from herder.machines.strike import STRIKE
from herder.machines.switchover import SWITCHOVER
from herder.machines.table import Table

TABLES: tuple[Table, ...] = (
    SERVER, MEMBER, SERVICE, FAILOVER, SWITCHOVER, RESTART, REBUILD, STRIKE, PROVISION, DESTROY, PAGE,
    INCIDENT, FREEZE, DEPENDENCY, ARCHIVE, ROLLOUT,
)  # fmt: skip
BY_KIND: dict[str, Table] = {table.kind: table for table in TABLES}
BY_CODE: dict[int, Table] = {table.code: table for table in TABLES}
PLAYBOOKS: tuple[str, ...] = tuple(
    table.kind for table in TABLES if not table.unit and table.kind not in ("page", "incident", "freeze", "rollout")
)
