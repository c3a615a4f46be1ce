"""Servers on this machine: a network namespace each where herder is root, a 127.x.y.z address each where it is not.

Every call does its work in a thread under the server's lock, because the kernel's calls for it (mounts, setns, fsync,
/proc) have no asynchronous form. What exists is read from the kernel each time; files keep only what it forgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import msgspec

from herder.model.errors import Conflict, HerderError, InvalidInput, NotFound, Refused, Unreachable
from herder.ports.provider import Ground, Launch, ServerHandle
from herder.providers import agents, cgroups, netns, procs, terrain
from herder.providers.files import ServerFile, Shelf

T = TypeVar("T")

CONFIRM_S = 5.0
"""Seconds until a fence gives up its confirmation: a killed process that is still there by then waits for a disk."""


class LocalProvider:
    """Implements `herder.ports.provider.Provider`; `recover` and `tear_down` besides.

    directory: herder's data directory; what the provider makes carries a tag derived from it and nothing else is
    touched. subnet, fencing: the settings of those names. namespaces: None = where possible; True = insist;
    False = do without. command: the agent's program, which gets the server's directory as its last argument.
    """

    def __init__(
        self,
        directory: Path,
        *,
        subnet: str = "",
        fencing: bool = True,
        namespaces: bool | None = None,
        command: Sequence[str] = agents.DEFAULT_COMMAND,
    ) -> None:
        self._tag = netns.tag_of(directory)
        self._shelf = Shelf(directory.resolve())
        self._survey = functools.partial(
            terrain.survey, self._shelf, self._tag, subnet=subnet, fencing=fencing, namespaces=namespaces
        )
        self._fencing = fencing
        self._command = tuple(command)
        self._ground: Ground | None = None
        self._asking = asyncio.Lock()
        self._boot = procs.boot_id()
        self._started: set[int] = set()
        # Fences never queue behind creates: a region's recovery starts many servers at once, and fences come first.
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="servers")
        self._urgent = ThreadPoolExecutor(16, thread_name_prefix="fences")

    # --- the port -------------------------------------------------------------------------------------------------

    async def ground(self) -> Ground:
        """What is possible here. The first call lays the bridge, so that the controller's address can be listened on."""
        async with self._asking:
            if self._ground is None:
                self._ground = await self._in_thread(self._survey)
            return self._ground

    async def create(self, launch: Launch, address: str) -> ServerHandle:
        """Make the server and start its agent; asked again, it finds both. Raises Refused for an incarnation that was
        fenced, succeeded or destroyed, Conflict when the server exists otherwise.
        """
        ground = await self.ground()
        return await self._in_thread(self._create, ground, launch, address)

    async def boot(self, launch: Launch) -> ServerHandle:
        """Start a stopped server again on its disk. Raises NotFound, Refused (a fenced or older incarnation), and
        Conflict while anything of an older incarnation runs: fence it first.
        """
        ground = await self.ground()
        return await self._in_thread(self._boot_again, ground, launch)

    async def attach_address(self, server: str, address: str) -> None:
        """Give a slot's address to this server, now or, when it is down, at its next boot. Raises NotFound."""
        ground = await self.ground()
        await self._in_thread(self._attach, ground, server, address)

    async def alive(self, server: str) -> bool | None:
        """True while any process of it runs, a frozen one too; None for a server that was never here."""
        ground = await self.ground()
        return await self._in_thread(self._alive, ground, server)

    async def fence(self, server: str, incarnation: int) -> str:
        """End every process of that incarnation, cut its link when they do not end. Raises Refused when fencing is off or a later
        incarnation runs (a delayed fence must not kill the successor), NotFound, Unreachable when it cannot confirm.
        """
        if not self._fencing:
            raise Refused(f"this provider may not fence {server}", "switch `fencing` (HERDER_FENCING) on to allow it")
        ground = await self.ground()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._urgent, self._fence, ground, server, incarnation)

    async def destroy(self, server: str) -> None:
        """End it, whatever incarnation runs, and move its directory to `trash/servers`."""
        ground = await self.ground()
        await self._in_thread(self._destroy, ground, server)

    async def close(self) -> None:
        """Let go; servers keep running."""
        self._threads.shutdown(wait=False)
        self._urgent.shutdown(wait=False)

    # --- besides the port -----------------------------------------------------------------------------------------

    async def recover(self) -> list[ServerHandle]:
        """Make bridge and namespaces that are missing (a reboot took them) and remove those of no server.

        Starts no agent: whether and as which incarnation is the controller's decision. pid is 0 where none runs.
        """
        ground = await self.ground()
        return await self._in_thread(self._recover, ground)

    async def tear_down(self) -> int:
        """End every server of this directory at once and remove bridge and namespaces; directories stay.

        Returns how many processes there were. Raises Unreachable when some do not end.
        """
        ended = await self._in_thread(self._tear_down)
        self._ground = None
        return ended

    # --- in a thread ----------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _create(self, ground: Ground, launch: Launch, address: str) -> ServerHandle:
        self._check_address(ground, address)
        with self._shelf.lock(launch.server):
            state = self._shelf.load(launch.server)
            if state is None:
                grave = self._shelf.grave(launch.server)
                if grave is not None and max(grave.incarnation, grave.fenced) >= launch.incarnation:
                    raise Refused(
                        f"{launch.server} incarnation {launch.incarnation} was destroyed", "create one with a new name"
                    )
                state = ServerFile(server=launch.server, incarnation=launch.incarnation, address=address)
                agents.make_home(self._shelf.home(launch.server), launch.engine_user)
                self._shelf.save(state)
            self._check_rejoins(state, launch.incarnation)
            if (state.incarnation, state.address) != (launch.incarnation, address):
                raise Conflict(
                    f"{launch.server} exists as incarnation {state.incarnation} at {state.address}",
                    "boot it, or destroy it",
                )
            return self._run(ground, state, launch)

    def _boot_again(self, ground: Ground, launch: Launch) -> ServerHandle:
        with self._shelf.lock(launch.server):
            state = self._must_load(launch.server)
            self._check_rejoins(state, launch.incarnation)
            if launch.incarnation > state.incarnation:
                left = self._find(ground, state)
                if left:
                    raise Conflict(
                        f"{len(left)} processes of {state.server} incarnation {state.incarnation} still run",
                        "fence it first",
                    )
                state = msgspec.structs.replace(state, incarnation=launch.incarnation, pid=0, ticks=0)
                self._shelf.save(state)
            return self._run(ground, state, launch)

    def _run(self, ground: Ground, state: ServerFile, launch: Launch) -> ServerHandle:
        """Have the agent run: adopt it, or (re)make what it needs and start it."""
        home = self._shelf.home(state.server)
        agents.make_home(home, launch.engine_user)
        agents.write_launch(home, launch)
        pid = self._agent(ground, state)
        if not pid:
            self._lay_cable(ground, state, connect=True)
            namespace = self._namespace(ground, state.server)
            enter: Callable[[Callable[[], int]], int] = (
                functools.partial(netns.inside, namespace) if namespace else lambda spawn: spawn()
            )
            top = cgroups.top_of(self._tag)
            pid = agents.start(self._command, launch, home, enter, top / state.server if top else None)
            self._started.add(pid)
        ticks = procs.start_ticks(pid) or 0
        inode = netns.inode_of(self._namespace(ground, state.server)) if ground.namespaces else 0
        self._shelf.save(msgspec.structs.replace(state, boot=self._boot, pid=pid, ticks=ticks, netns=inode or 0))
        return self._handle(ground, state, pid)

    def _lay_cable(self, ground: Ground, state: ServerFile, *, connect: bool) -> None:
        """Make namespace and cable where missing, with every slot address that is this server's, and announce them."""
        if not ground.namespaces:
            return
        namespace = self._namespace(ground, state.server)
        with self._shelf.address_lock():
            mine = [state.address, *(a for a, owner in self._shelf.addresses().items() if owner == state.server)]
            netns.make_namespace(namespace, netns.bridge_name(self._tag), mine, connect=connect)
        if connect:
            netns.announce(namespace, mine)

    def _attach(self, ground: Ground, server: str, address: str) -> None:
        self._check_address(ground, address)
        with self._shelf.address_lock():
            state = self._must_load(server)
            table = self._shelf.addresses()
            holder = table.get(address)
            # Taken away, written down, given: a crash between any two leaves it with nobody, never with two.
            if holder not in (None, server) and ground.namespaces:
                netns.drop_address(self._namespace(ground, str(holder)), address)
            if holder != server:
                self._shelf.save_addresses({**table, address: server})
            namespace = self._namespace(ground, state.server)
            if ground.namespaces and netns.inode_of(namespace) is not None:
                netns.add_address(namespace, address)
                netns.announce(namespace, [address])

    def _alive(self, ground: Ground, server: str) -> bool | None:
        agents.reap(self._started)
        state = self._shelf.load(server)
        if state is None:
            return None
        if state.boot == self._boot and procs.is_running(state.pid, state.ticks):
            return True
        return bool(self._find(ground, state))

    def _fence(self, ground: Ground, server: str, incarnation: int) -> str:
        with self._shelf.lock(server):
            state = self._shelf.load(server)
            if state is None:
                grave = self._shelf.grave(server)
                if grave is None or grave.incarnation < incarnation:
                    raise NotFound(f"there is no server {server} here", "see `herder servers`")
                return f"{server} incarnation {incarnation} was destroyed before"
            if state.incarnation > incarnation:
                raise Refused(
                    f"{server} is at incarnation {state.incarnation}; the fence is for {incarnation}, which ended before",
                    "fence the incarnation that runs",
                )
            if state.fenced < incarnation:  # written down first: from here on it cannot come back
                state = msgspec.structs.replace(state, fenced=incarnation)
                self._shelf.save(state)
            try:
                count = self._end(ground, state)
            except HerderError:
                self._cut(ground, server)  # not known to be gone: at least nobody hears it any more
                raise
        # The cable stays in when all is gone: its kernel refuses at once, where a cut one keeps clients waiting for seconds.
        found = "" if ground.namespaces else " (no namespaces: found by working directory)"
        gone = (
            f"all {count} processes of {server} incarnation {incarnation} gone"
            if count
            else (f"no process of {server} incarnation {incarnation} was left")
        )
        return gone + found

    def _cut(self, ground: Ground, server: str) -> bool:
        if not ground.namespaces:
            return False
        return netns.unplug(netns.bridge_name(self._tag), netns.link_name(self._namespace(ground, server)))

    def _destroy(self, ground: Ground, server: str) -> None:
        with self._shelf.lock(server):
            state = self._shelf.load(server)
            if state is not None:
                self._cut(ground, server)
                self._end(ground, state)
            with self._shelf.address_lock():
                table = self._shelf.addresses()
                kept = {address: owner for address, owner in table.items() if owner != server}
                if kept != table:
                    self._shelf.save_addresses(kept)
            if ground.namespaces:
                netns.remove_namespace(self._namespace(ground, server))
            group = self._group(server)
            if group is not None:
                cgroups.remove(group)
            self._shelf.bury(server)

    def _recover(self, ground: Ground) -> list[ServerHandle]:
        handles = []
        for server in self._shelf.known():
            with self._shelf.lock(server):
                state = self._shelf.load(server)
                if state is None:
                    continue
                down = state.fenced >= state.incarnation
                missing = ground.namespaces and netns.inode_of(self._namespace(ground, server)) is None
                if missing:
                    self._lay_cable(ground, state, connect=not down)
                handles.append(self._handle(ground, state, self._agent(ground, state)))
        wanted = {self._namespace(ground, handle.server) for handle in handles}
        for orphan in set(netns.names_of(self._tag)) - wanted if ground.namespaces else ():
            self._remove_orphan(orphan)
        return handles

    def _remove_orphan(self, namespace: str) -> None:
        """A namespace of no server: a create or a destroy was cut short. Asked again under the lock, as one may begin."""
        server = namespace.removeprefix(netns.namespace_name(self._tag, ""))
        with self._shelf.lock(server):
            inode = netns.inode_of(namespace)
            if self._shelf.load(server) is None and inode is not None:
                with contextlib.suppress(procs.StillThere):  # the next recovery tries again
                    procs.kill_until_gone(functools.partial(procs.in_namespaces, frozenset({inode})), CONFIRM_S)
                    netns.remove_namespace(namespace)

    def _tear_down(self) -> int:
        top = cgroups.top_of(self._tag)
        names = netns.names_of(self._tag)
        inodes = frozenset(inode for name in names if (inode := netns.inode_of(name)) is not None)

        def find(among: Iterable[int] | None = None) -> list[int]:
            return list({*procs.in_namespaces(inodes, among), *procs.working_under(self._shelf.servers, among)})

        try:
            count = procs.kill_until_gone(find, CONFIRM_S, top)
        except procs.StillThere as left:
            raise Unreachable(f"these processes do not end: {left}", "see `ps`; try again") from left
        agents.reap(self._started)
        links = [*netns.links_of(self._tag), netns.bridge_name(self._tag)]
        lines = [f"link del {link}" for link in links if netns.link_exists(link)]
        lines += [f"netns del {name}" for name in names]
        if lines:
            netns.ip(lines, tolerant=True)
        if top is not None:
            cgroups.remove(top)
        return count

    # --- small things ---------------------------------------------------------------------------------------------

    def _namespace(self, ground: Ground, server: str) -> str:
        return netns.namespace_name(self._tag, server) if ground.namespaces else ""

    def _handle(self, ground: Ground, state: ServerFile, pid: int) -> ServerHandle:
        return ServerHandle(
            server=state.server,
            incarnation=state.incarnation,
            address=state.address,
            namespace=self._namespace(ground, state.server),
            directory=str(self._shelf.home(state.server)),
            pid=pid,
        )

    def _must_load(self, server: str) -> ServerFile:
        state = self._shelf.load(server)
        if state is None:
            raise NotFound(f"there is no server {server} here", "see `herder servers`")
        return state

    @staticmethod
    def _check_rejoins(state: ServerFile, incarnation: int) -> None:
        if incarnation <= state.fenced:
            raise Refused(f"{state.server} incarnation {incarnation} was fenced and never rejoins", "boot a higher one")
        if incarnation < state.incarnation:
            raise Refused(f"{state.server} is at incarnation {state.incarnation}, later than {incarnation}", "")

    @staticmethod
    def _check_address(ground: Ground, address: str) -> None:
        try:
            usable = IPv4Address(address) in list(IPv4Network(ground.subnet))[2:-1]
        except ValueError:
            usable = False
        if not usable:
            raise InvalidInput(f"'{address}' is not a server's address in {ground.subnet}", "take one from .2 to .254")

    def _find(self, ground: Ground, state: ServerFile, among: Iterable[int] | None = None) -> list[int]:
        """Every process of the server: those in its namespace; without, its group and all that work in its directory."""
        home = self._shelf.home(state.server)
        same_boot = state.boot == self._boot
        if not ground.namespaces:
            agent = [state.pid] if same_boot and procs.is_running(state.pid, state.ticks) else []
            group = self._group(state.server)
            return list({*agent, *procs.working_under(home, among), *(cgroups.pids(group) if group else ())})
        inode = netns.inode_of(self._namespace(ground, state.server)) or (state.netns if same_boot else 0)
        return procs.in_namespaces(frozenset({inode}), among) if inode else procs.working_under(home, among)

    def _group(self, server: str) -> Path | None:
        return cgroups.existing(self._tag, server)

    def _agent(self, ground: Ground, state: ServerFile) -> int:
        """The agent's first process, or 0."""
        if state.boot == self._boot and procs.is_running(state.pid, state.ticks):
            return state.pid
        home = self._shelf.home(state.server)
        return agents.find(self._command, home, state.incarnation, self._find(ground, state))

    def _end(self, ground: Ground, state: ServerFile) -> int:
        try:
            count = procs.kill_until_gone(
                functools.partial(self._find, ground, state), CONFIRM_S, self._group(state.server)
            )
        except procs.StillThere as left:
            raise Unreachable(f"{state.server} is not confirmed gone: {left} left after {CONFIRM_S:.0f} s") from left
        agents.reap(self._started)
        return count
