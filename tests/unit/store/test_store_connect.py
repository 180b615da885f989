"""Store URLs: what is taken, what is refused, and that no password is ever shown."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rabbitjobs.errors import StoreError
from rabbitjobs.store.connect import masked, parse_url
from rabbitjobs.store.engine import Store
from rabbitjobs.store.sqlite_file import default_url


def test_the_default_is_a_file_of_the_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the user's state folder; a namespace is no path."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_url("shop") == f"sqlite:///{tmp_path}/rabbitjobs/shop.db"
    assert default_url("../가게/x") == f"sqlite:///{tmp_path}/rabbitjobs/.._가게_x.db"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_url("shop") == f"sqlite:///{tmp_path}/.local/state/rabbitjobs/shop.db"


@pytest.mark.parametrize(
    "url",
    ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "no url", "postgresql+asyncpg://h/d"],
)
def test_other_urls_are_refused(url: str) -> None:
    """With the two forms that are taken."""
    with pytest.raises(StoreError, match="sqlite:///path"):
        parse_url(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_spoken_with_psycopg_3(scheme: str) -> None:
    """However the URL is spelt."""
    assert parse_url(f"{scheme}://host/db").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url", ["postgresql://ann:hunter2@host/db", "postgresql://host/db?password=hunter2&user=ann"]
)
def test_passwords_are_masked(url: str) -> None:
    """In the repr too."""
    assert "hunter2" not in masked(parse_url(url))
    assert "hunter2" not in repr(Store(url))


def test_the_file_belongs_to_its_user_only(tmp_path: Path) -> None:
    """Payloads are nobody else's business."""
    store = Store(f"sqlite:///{tmp_path}/new/store.db")
    assert not (tmp_path / "new").exists()
    store.check()
    store.close()
    assert stat.S_IMODE((tmp_path / "new" / "store.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_another_connection_drops_no_lock_of_ours(tmp_path: Path) -> None:
    """Else a process that ends takes itself for the last one, and deletes the log we write to."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    first = Store(url)
    first.migrate()
    second = Store(url)
    second.check()
    visitor = "import sys; from rabbitjobs.store.engine import Store; s = Store(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", f"{visitor}; s.check(); s.close()", url], check=True, timeout=60
    )
    assert (tmp_path / "store.db-wal").exists()
    second.close()
    first.close()
