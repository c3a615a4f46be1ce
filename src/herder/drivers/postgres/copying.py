"""A member's data copied from its source, beside the old data, and put in its place by renames."""

from __future__ import annotations

from herder.drivers import processes
from herder.drivers.postgres import config, layout
from herder.drivers.postgres.layout import Layout
from herder.drivers.postgres.lifecycle import write_config
from herder.drivers.postgres.session import at_source, make_slot
from herder.drivers.processes import Account, in_thread, run
from herder.ports.driver import MemberSpec, Source, SyncSet

COPY_LIMIT_S = 24 * 3600.0
"""Seconds a copy may take; the control plane has its own deadline, this one ends a run that nobody waits for."""


async def claim_slot(spec: MemberSpec, source: Source, *, idle: bool = True) -> None:
    """Make this member's slot on the source, so that it keeps what this member has not yet.

    idle: this member does not stream now, so a walsender that still holds the slot serves a dead connection; it is
    ended, where it would keep us out until wal_sender_timeout.
    """
    async with at_source(spec, source, config.REPLICATION, spec.replication_password) as connection:
        await make_slot(connection, spec.member)
        if idle:
            await connection.execute(
                "SELECT pg_terminate_backend(active_pid, 2000) FROM pg_replication_slots"
                " WHERE slot_name = $1 AND active_pid IS NOT NULL",
                config.slot_name(spec.member),
            )


def dress_as_standby(spec: MemberSpec, paths: Layout, there: Layout, source: Source, account: Account) -> None:
    """Make a directory that came from another member this member's: its configuration, its source, its name.

    The owner's mark is written last. Slots are the former primary's and would hold WAL here for nobody.
    """
    layout.remove(there.owner)
    for slot in (there.data / "pg_replslot").iterdir():
        layout.remove(slot)
    for name in ("promote.signal", "recovery.signal", "postmaster.pid", "postmaster.opts"):
        (there.data / name).unlink(missing_ok=True)
    layout.write(there.standby_signal, "", account)
    # Empty: a candidate's own list is set, and proved to be in force, before it is promoted.
    layout.write(there.sync_conf, config.render_sync(SyncSet()), account)
    layout.write(there.stream_conf, config.render_stream(spec, source), account)
    write_config(spec, paths, there.data, account)
    layout.write_owner(there, spec, account)


async def copy_beside(spec: MemberSpec, source: Source, bin_dir: str, account: Account) -> None:
    """Copy the source into `.new`, durable and complete. Nothing of the data in place is touched."""
    paths = Layout.of(spec)
    await processes.kill_within(paths.log_dir)
    layout.remove(paths.new)
    account.make_dir(paths.new)
    await claim_slot(spec, source)
    info = config.conninfo(source, config.REPLICATION, "", f"{spec.member} copy")
    await run(
        [
            f"{bin_dir}/pg_basebackup", "-D", str(paths.new), "-d", info, "--no-password", "--wal-method=stream",
            f"--slot={config.slot_name(spec.member)}", "--checkpoint=fast", "--no-sync", "--no-manifest",
        ],
        account=account, cwd=paths.log_dir, timeout_s=COPY_LIMIT_S,
        # Not on the command line, which everybody on the machine can read.
        extra_env={"PGPASSWORD": spec.replication_password},
    )  # fmt: skip
    dress_as_standby(spec, paths, paths.at(paths.new), source, account)
    await in_thread(layout.sync_tree, paths.new)


async def swap(paths: Layout) -> None:
    """Put the copy in place. Killed between the renames, there is no data in place, and the next call copies again."""
    await processes.kill_within(paths.data)
    if paths.old.exists() and paths.data.exists():
        await in_thread(layout.remove, paths.old)
    if paths.data.exists():
        layout.move(paths.data, paths.old)
    layout.move(paths.new, paths.data)
    await in_thread(layout.remove, paths.old)
