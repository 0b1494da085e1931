"""System checks and migrations, also on a database that is not PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from textwrap import dedent

import pytest
from django.core import management
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from djqueue.checks import check_commands, check_settings, check_time_zones, check_vendor
from djqueue.migrations._routines import CreateRoutines
from djqueue.store.claim import CLAIM
from djqueue.store.routines import digest

ROOT = Path(__file__).parent.parent


def on_sqlite(code: str, *, databases: str = "{'default': SQLITE}", djqueue: str = "{}") -> str:
    """Run code in an interpreter of its own whose default database is SQLite."""
    configured = dedent("""
        import django
        from django.conf import settings
        from django.core.management import call_command
        from django.core.checks import run_checks
        SQLITE = {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        POSTGRESQL = {{"ENGINE": "django.db.backends.postgresql", "NAME": "unused"}}
        settings.configure(
            INSTALLED_APPS=["djqueue"], DATABASES={databases}, DJQUEUE={djqueue}, USE_TZ=True,
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        )
        django.setup()
    """).format(databases=databases, djqueue=djqueue)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", configured + dedent(code)],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestChecks:
    def test_this_suite_passes_them_all(self):
        assert run_checks() == []

    def test_e001_the_database_of_the_queue_is_not_postgresql(self):
        out = on_sqlite("for found in run_checks(): print(found.id, found.msg, found.hint)")
        assert out.startswith("djqueue.E001 djqueue needs PostgreSQL 15 or newer, but the database 'default' is sqlite")
        assert "DATABASE_URL=postgres://" in out
        assert out.count("djqueue.E001") == 1

    def test_sqlite_beside_a_postgresql_that_holds_the_queue_is_fine(self):
        out = on_sqlite(
            "print(run_checks())",
            databases="{'default': SQLITE, 'queue': POSTGRESQL}",
            djqueue="{'DATABASE': 'queue'}",
        )
        assert out == "[]\n"

    def test_checking_connects_to_no_database(self):
        """``manage.py check`` runs where images are built."""
        assert on_sqlite("print(run_checks())", databases="{'default': POSTGRESQL}") == "[]\n"

    def test_e002_a_setting_is_wrong(self):
        with override_settings(DJQUEUE={"LEESE": 5, "CONCURRENCY": "x"}):
            found = check_settings(None)
            assert check_vendor(None) == []
        assert [(error.id, error.hint) for error in found] == [
            ("djqueue.E002", "Did you mean 'LEASE'?"),
            ("djqueue.E002", None),
        ]

    @pytest.mark.parametrize("name", ["DATABASE", "LISTEN"])
    def test_e003_a_setting_names_a_database_that_is_not_configured(self, name):
        with override_settings(DJQUEUE={name: "defualt"}):
            (error,) = check_settings(None)
            assert check_vendor(None) == []
        assert error.id == "djqueue.E003"
        assert error.msg == f"DJQUEUE['{name}'] names the database 'defualt', which DATABASES does not have"
        assert "default" in error.hint

    def test_e007_time_zones_are_off(self):
        with override_settings(USE_TZ=False):
            (error,) = check_time_zones(None)
        assert (error.id, error.msg) == ("djqueue.E007", "djqueue needs USE_TZ to be True, got: False")
        assert check_time_zones(None) == []

    def test_listen_may_name_a_database_that_is_configured(self):
        with override_settings(DJQUEUE={"LISTEN": "default"}):
            assert check_settings(None) == []


class TestCommandsOfOthers:
    @pytest.fixture(autouse=True)
    def fresh_commands(self):
        """Django remembers which app owns a command."""
        management.get_commands.cache_clear()
        yield
        management.get_commands.cache_clear()

    def test_w001_another_app_hides_our_command(self):
        with override_settings(INSTALLED_APPS=["tests.rival", "djqueue"]):
            management.get_commands.cache_clear()
            (warning,) = check_commands(None)
        assert warning.id == "djqueue.W001"
        assert warning.msg == "manage.py runworker runs the command of 'tests.rival', not djqueue's"
        assert warning.hint == (
            "List 'djqueue' before 'tests.rival' in INSTALLED_APPS, or use manage.py djqueue_worker."
        )

    def test_another_app_behind_ours_is_fine(self):
        with override_settings(INSTALLED_APPS=["djqueue", "tests.rival"]):
            management.get_commands.cache_clear()
            assert check_commands(None) == []

    def test_ours_runs_under_its_other_name_all_the_same(self):
        with override_settings(INSTALLED_APPS=["tests.rival", "djqueue"]):
            management.get_commands.cache_clear()
            assert management.get_commands()["djqueue_worker"] == "djqueue"


class TestMigrations:
    def test_the_models_have_not_changed_since(self, db):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)

    def test_the_routines_have_not_changed_since(self):
        """A changed statement is another routine, which only a new migration brings into databases in service."""
        migrations = MigrationLoader(None).disk_migrations
        ours = [migrations[key] for key in sorted(migrations) if key[0] == "djqueue"]
        made = [step for migration in ours for step in migration.operations if isinstance(step, CreateRoutines)]
        assert made[-1].digest == digest(), f"add a migration that ends in CreateRoutines({digest()!r})"

    def test_one_by_one_they_lead_to_the_same_tables_with_rows_in_them(self, transactional_db):
        """Upgrading a database in service, whose routines of older releases stay for workers that still run."""
        try:
            call_command("migrate", "djqueue", "0002", verbosity=0)
            with connection.cursor() as cursor:
                cursor.execute("CREATE FUNCTION djqueue_claim_of_old() RETURNS int LANGUAGE sql AS 'SELECT 1'")
                cursor.execute(
                    "INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, finished_at)"
                    " VALUES (gen_random_uuid(), 1, 9, 'w', '{}', now())"
                )
            call_command("migrate", "djqueue", verbosity=0)
            with connection.cursor() as cursor:
                cursor.execute("UPDATE djqueue_taskattempt SET outcome = 11")
                cursor.execute("SELECT djqueue_claim_of_old()")
            call_command("migrate", "djqueue", "0002", verbosity=0)
            call_command("migrate", "djqueue", "zero", verbosity=0)
        finally:
            call_command("migrate", "djqueue", verbosity=0)

    def test_they_can_be_undone_and_done_again(self, transactional_db):
        def ours() -> tuple[int, int, int]:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'djqueue%%' AND relkind = 'r'),"
                    " (SELECT count(*) FROM pg_proc WHERE proname LIKE 'djqueue%%'),"
                    " (SELECT count(*) FROM pg_class WHERE relname LIKE 'djqueue%%' AND relkind = 'S')"
                )
                return cursor.fetchone()

        before = ours()
        assert min(before) > 0
        try:
            call_command("migrate", "djqueue", "zero", verbosity=0)
            assert ours() == (0, 0, 0)
        finally:
            call_command("migrate", "djqueue", verbosity=0)
        assert ours() == before

    def test_their_sql_can_be_shown(self, db):
        out = StringIO()
        call_command("sqlmigrate", "djqueue", "0002", stdout=out)
        assert f"CREATE OR REPLACE FUNCTION {CLAIM.name}" in out.getvalue()
        assert "ALTER TABLE djqueue_readytask SET (autovacuum_vacuum_scale_factor = 0" in out.getvalue()

    def test_on_sqlite_they_do_nothing_forwards_and_backwards(self):
        out = on_sqlite("""
            call_command("migrate", verbosity=0)
            from django.db import connection
            print([name for name in connection.introspection.table_names() if name.startswith("djqueue")])
            call_command("migrate", "djqueue", "zero", verbosity=0)
            call_command("migrate", verbosity=0)
            call_command("makemigrations", check=True, dry_run=True, verbosity=0)
        """)
        assert out == "[]\n"


def test_eager_mode_runs_on_any_database():
    """Calls, retries, a transactional task and a workflow, where the only database is SQLite without a table."""
    out = on_sqlite(
        """
        from djqueue import chord, shared_task

        @shared_task(transactional=True)
        def add(x, y):
            return x + y

        @shared_task
        def total(values):
            return sum(values)

        @shared_task(bind=True, autoretry_for=(ValueError,))
        def third_time(self):
            if self.request.retries < 2:
                raise ValueError
            return self.request.retries

        print(add.delay(1, 2).get(), add.apply((2, 3)).get(), third_time.delay().get())
        print(chord([add.s(1, 1), add.s(2, 2) | add.s(3)], total.s()).delay().get())
        """,
        djqueue="{'ALWAYS_EAGER': True}",
    )
    assert out == "3 5 2\n9\n"
