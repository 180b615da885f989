"""Granting roles to accounts that have something already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rabbitjobs.broker.management import Management
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.cli.root import cli
from rabbitjobs.clock import uuid7
from rabbitjobs.errors import TopologyRefused
from rabbitjobs.secret import Secret
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.granting import grant
from rabbitjobs.topology.permissions import roles
from tests.broker.topology_bench import Bench, bench
from tests.brokers import SHORT_LADDER

SHOP = f"version: 1\nnamespace: shop\nqueues: {{emails: {{}}}}\n{SHORT_LADDER}"
SPEC = loads(SHOP, "topology.yaml", env={})
WRITES = {role.name: role.write for role in roles(SPEC)}
READS = {role.name: role.read for role in roles(SPEC)}


class Office:
    """A vhost with the topology, an account, and an administrator who grants."""

    def __init__(self, shop: Bench, folder: Path) -> None:
        self.shop = shop
        self.account, self.administrator = f"jobs-{uuid7()}", f"admin-{uuid7()}"
        self.file = folder / "topology.yaml"
        self.file.write_text(SHOP)

    def has(self, **rights: str) -> None:
        """Give the account these rights, and none else."""
        every = {"configure": "^$", "write": "^$", "read": "^$"} | rights
        self.shop.management.set_permissions(self.shop.vhost, self.account, **every)

    def rights(self) -> tuple[str, str, str]:
        """What the account has now."""
        for one in self.shop.management.permissions(self.shop.vhost):
            if one["user"] == self.account:
                return one["configure"], one["write"], one["read"]
        return "", "", ""

    def command(self, *options: str) -> Result:
        """``rabbitjobs topology permissions --apply``."""
        address = parse_urls(self.shop.url)[0]
        url = f"amqp://{self.administrator}:pw@{address.host}:{address.port}/{address.vhost}"
        where = ("--config", str(self.file), "--url", url)
        management = ("--management-url", self.shop.management.url)
        command = ("topology", "permissions", *where, *management, "--apply")
        return CliRunner().invoke(cli, [*command, *options])

    def grant(self, *names: str, replace: bool = False) -> tuple[str, ...]:
        """The same without a command line, by an administrator without rights on the vhost."""
        with Management(
            self.shop.management.url, user=self.administrator, password=Secret("pw")
        ) as management:
            users = {self.account: names}
            return grant(management, self.shop.vhost, SPEC, users, replace=replace)


@pytest.fixture
def office(broker_url: str, management_url: str, tmp_path: Path) -> Iterator[Office]:
    """The account has nothing yet."""
    with bench(broker_url, management_url) as shop:
        shop.apply(SHOP)
        office = Office(shop, tmp_path)
        management = shop.management
        management.put_user(office.account, password=Secret("pw"))
        management.put_user(office.administrator, password=Secret("pw"), tags=("administrator",))
        try:
            yield office
        finally:
            management.delete_user(office.account)
            management.delete_user(office.administrator)


def test_one_command_gives_an_account_all_its_roles(office: Office) -> None:
    """In whatever order they are named, and again; a role may have several accounts."""
    account, other = office.account, office.administrator
    both = (f"--user=worker={account}", f"--user=reviewer={account}")
    for options in (both, both[::-1], (*both, f"--user=worker={other}")):
        ran = office.command(*options)
        assert ran.exit_code == 0, ran.output
        configure, write, read = office.rights()
        assert configure == r"^shop\.(control|reply)\."
        for right, wanted in ((write, WRITES), (read, READS)):
            assert wanted["worker"] in right and wanted["reviewer"] in right
    assert f"{other} may now do what a worker needs" in ran.output


def test_a_role_alone_does_not_take_another_one_away(office: Office) -> None:
    """It is refused before anything is done, with the command that gives both."""
    office.grant("worker", "reviewer")
    before = office.rights()
    with pytest.raises(TopologyRefused) as refused:
        office.grant("worker")
    text = str(refused.value)
    assert f"{office.account} would lose read shop.notify, shop.quarantine, shop.review" in text
    assert f"--user worker={office.account} --user reviewer={office.account}" in text
    assert "--replace" in text
    assert office.rights() == before
    taken, given = office.grant("worker", replace=True)
    assert taken.startswith(f"{office.account} may no longer: read shop.notify")
    assert given.endswith("may now do what a worker needs")
    assert READS["reviewer"] not in office.rights()[2]


@pytest.mark.parametrize(
    ("right", "pattern", "lost"),
    [
        ("read", ".*", "amq.direct"),
        ("write", r"^other\.", r"write by ^other\."),
        ("write", r"^shop\.jobs$|^other\.", r"write by ^shop\.jobs$|^other\."),
        ("configure", r"^shop\.", "configure shop.control"),
        ("read", r"(?|^shop\.q\.)", "read by (?|"),  # PCRE's own, no pattern for Python
    ],
)
def test_rights_that_no_role_gives_are_not_taken_away_unsaid(
    office: Office, right: str, pattern: str, lost: str
) -> None:
    """Another namespace's, an administrator's, those given by hand."""
    office.has(**{right: pattern})
    before = office.rights()
    with pytest.raises(TopologyRefused, match="take them away with --replace") as refused:
        office.grant("worker")
    assert lost in str(refused.value) and "in one command" not in str(refused.value)
    assert office.rights() == before


@pytest.mark.parametrize(
    "rights",
    [
        {},
        {"write": r"^shop\.jobs$"},
        {"write": WRITES["publisher"]},
        {"write": rf"^shop\.jobs$|{WRITES['worker']}", "read": r"^shop\.q\.(emails|images)$"},
    ],
)
def test_an_account_that_only_gains_is_granted_without_a_word(
    office: Office, rights: dict[str, str]
) -> None:
    """A smaller role, the same one, and what somebody gave by hand inside of the role."""
    office.has(**rights)
    assert office.grant("worker") == (f"{office.account} may now do what a worker needs",)


def test_a_user_without_a_role_is_refused(office: Office) -> None:
    """Instead of an account without a name."""
    ran = office.command("--user", "worker")
    assert ran.exit_code == 2 and "expected --user ROLE=NAME" in ran.output
