"""The desk of a stage: jobs that ask for a person, who releases them, and what must be true."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import httpx
import pika

from rabbitjobs.broker.layout import free_ports
from rabbitjobs.failpoints import EXIT_CODE, VARIABLE
from rabbitjobs.message.headers import ATTEMPT
from rabbitjobs.review.case import AuditRow, CaseLine, Filters
from tests.faults.ledger import Pen
from tests.faults.process import Failed, Process, until
from tests.faults.stage import Stage

JOBS = "faults.jobs"
RELEASES = ("retry", "approve")
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Desk:
    """Cases of one stage; they are looked at by the public API, and acted on by other processes."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._pen = Pen(stage.ledger)
        self._clock = stage.folder / "clock"
        self._port = free_ports(1)[0]

    # --- the clock ------------------------------------------------------------------------------

    def minds_the_clock(self) -> None:
        """Every process that is started from now on goes by the clock of ``passes``."""
        self._set(0.0)
        self.stage.environment["FAULTS_CLOCK"] = str(self._clock)

    def passes(self, seconds: float) -> None:
        """So much time passes for all of them at once."""
        self._set(float(self._clock.read_text(encoding="ascii")) + seconds)

    def is_configured(self, text: str) -> None:
        """Processes that are started from now on have this configuration."""
        (self.stage.folder / "config" / "rabbitjobs.yaml").write_text(f"{text}\n")

    def _set(self, seconds: float) -> None:
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self._clock)

    # --- cases ----------------------------------------------------------------------------------

    def send(self, count: int, kind: str = "plead", **options: str) -> Process:
        """Start a publisher of so many jobs that end on the desk."""
        given = [word for key, value in options.items() for word in (f"--{key}", value)]
        return self.stage.publish("--mix", kind, "--count", str(count), *given)

    def lands(self, count: int, kind: str = "plead") -> list[CaseLine]:
        """Send so many jobs, wait until they are cases, and note that they will be released."""
        before = {case.id for case in self.cases()}
        self.send(count, kind).ends(0)
        return self.awaits(count, before)

    def awaits(self, count: int, before: Iterable[str] = ()) -> list[CaseLine]:
        """Wait until there are so many open cases but those; note that they will be released."""
        known = {*before}

        def fresh() -> list[CaseLine]:
            return [one for one in self.cases("open") if one.id not in known]

        until(lambda: len(fresh()) >= count, f"{count} cases on the desk", pause=0.2, why=self.said)
        found = fresh()
        if len(found) != count:
            raise Failed(f"expected {count} cases, got {len(found)}: one failure has two")
        return self.asked_for(found)

    def grows(self, before: int) -> None:
        """Wait until there are more cases than ``before``."""
        until(lambda: len(self.cases()) > before, "a case", why=self.said)

    def asked_for(self, cases: Sequence[CaseLine]) -> list[CaseLine]:
        """Note in the ledger that their jobs are to run once more."""
        for case in cases:
            self._pen.write("R", "-", str(case.job_id))
        return list(cases)

    def cases(self, state: str | None = None) -> list[CaseLine]:
        """All cases, the oldest first; of one state, if it is named."""
        found: list[CaseLine] = []
        after: str | None = None
        while True:
            page = self.stage.app.desk.list(Filters(), limit=200, after=after, sort="oldest")
            found += page.cases
            after = page.after
            if after is None:
                return [case for case in found if state in (None, case.state)]

    def in_batches(self, cases: list[CaseLine], size: int) -> list[list[CaseLine]]:
        """The cases, so many at a time."""
        return [cases[at : at + size] for at in range(0, len(cases), size)]

    def audit(self, case: CaseLine) -> list[AuditRow]:
        """What was done to a case."""
        return list(self.stage.app.desk.audit(case.id))

    def said(self) -> str:
        """How far the desk is, and the ends of all logs, for a row that fails."""
        states = Counter(case.state for case in self.cases())
        return f"cases: {dict(states)}\n{self.stage.said()}"

    # --- the desk's processes -------------------------------------------------------------------

    def ends(self, *processes: Process) -> None:
        """Stop these in order."""
        for one in processes:
            one.signal(signal.SIGTERM)
        for one in processes:
            one.ends(0)

    def reviews(self, *words: str, **variables: str) -> Process:
        """Start ``rabbitjobs review``."""
        return self.stage.start("review", "-m", "rabbitjobs", "review", *words, **variables)

    def dies(self, place: str, *words: str) -> None:
        """Run ``rabbitjobs review``, which is killed at this place."""
        self.stage.fault()
        self.reviews(*words, **{VARIABLE: place}).ends(EXIT_CODE)

    def froze(self, cases: Iterable[CaseLine], *terms: str) -> str:
        """Freeze a bulk action that releases these, and return its id."""
        ids = [word for case in cases for word in ("--case", case.id)]
        words = ("review", "bulk", "freeze", "retry", *ids, *terms, "--json")
        return str(json.loads(self.stage.rabbitjobs(*words))["id"])

    def retrying(self, cases: Iterable[CaseLine]) -> tuple[str, ...]:
        """The command that releases these, as they were seen."""
        (version,) = {case.version for case in cases}
        return ("retry", *(case.id for case in cases), "--version", str(version))

    def serves(self, place: str = "") -> Process:
        """Start the web server, which is killed at ``place``; returns once it answers."""
        words = ("-m", "rabbitjobs", "web", "--port", str(self._port))
        server = self.stage.start("web", *words, **{VARIABLE: place})
        until(lambda: self._answers(server), "the web server to answer", why=lambda: server.tail)
        return server

    def ends_serving(self, server: Process) -> None:
        """Stop the web server in order."""
        server.signal(signal.SIGTERM)
        server.ends()

    def calls(self, path: str, version: int = 0, **body: object) -> httpx.Response | None:
        """Post to the API; ``None`` if the server died before it answered."""
        headers = {"If-Match": f'"{version}"'}
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(f"{self._url}/api{path}", json=body, headers=headers, timeout=30)
        return None

    def fills_in(self, case: CaseLine, action: str = "retry") -> httpx.Response | None:
        """Send the form on a case's page, as a browser does; ``None`` if the server died."""
        with contextlib.suppress(httpx.TransportError), httpx.Client(timeout=30) as browser:
            page = browser.get(f"{self._url}/cases/{case.id}")
            found = _CSRF.search(page.text)
            if found is None:
                raise Failed(f"expected a form on the page of a case, got {page.text[:300]}")
            form = {"csrf": found[1], "version": str(case.version)}
            return browser.post(f"{self._url}/cases/{case.id}/{action}", data=form)
        return None

    def calls_retry(self, case: CaseLine) -> httpx.Response | None:
        """Release a case by the API, as it was seen."""
        return self.calls(f"/cases/{case.id}/retry", case.version)

    def refused(self, case: CaseLine, *answers: httpx.Response | None) -> None:
        """Both are told that the case is another by now."""
        self._told((409, 412), f"case {case.id}", answers)

    def without_store(self, *answers: httpx.Response | None) -> None:
        """They are told that the store is not there."""
        self._told((503,), "the store", answers)

    def _told(
        self, codes: tuple[int, ...], what: str, answers: Iterable[httpx.Response | None]
    ) -> None:
        for answer in answers:
            if answer is None or answer.status_code not in codes:
                got = "nothing" if answer is None else f"{answer.status_code}: {answer.text[:300]}"
                raise Failed(f"expected a refusal because of {what} ({codes}), got {got}")

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _answers(self, server: Process) -> bool:
        if not server.alive:
            raise Failed(f"expected a web server, got its end: {server.tail}")
        with socket.socket() as line:
            line.settimeout(0.5)
            return line.connect_ex(("127.0.0.1", self._port)) == 0

    # --- what must be true ----------------------------------------------------------------------

    def closes(self, cases: Sequence[CaseLine], releases: int = 1) -> None:
        """Wait until these are closed by their jobs; each was released so often, and no more."""
        wanted = {case.id for case in cases}

        def waiting() -> list[CaseLine]:
            return [one for one in self.cases() if one.id in wanted and one.state != "closed"]

        until(lambda: not waiting(), f"{len(wanted)} closed cases", pause=0.2, why=self.said)
        for case in cases:
            self._was_released(case, releases)
        self.one_for_each()

    def one_for_each(self) -> None:
        """Every job that came to the desk has one case there."""
        came = {line.job_id for line in self.stage.lines("V")}
        found = Counter(case.job_id for case in self.cases())
        if wrong := {job: count for job, count in found.items() if count != 1 or job not in came}:
            raise Failed(f"expected one case for each job in review, got {wrong}")
        if missing := came - found.keys():
            raise Failed(f"expected a case for each job in review, got none for {missing}")

    def _was_released(self, case: CaseLine, releases: int) -> None:
        """Each failure was taken in once, each release made and confirmed once, and it ended."""
        trail = [row.action for row in self.audit(case)]
        done = Counter("release" if action in RELEASES else action for action in trail)
        failures = done["open"] + done["reopen"] + done["attach"]
        once = failures == done["release"] == releases and done["close"] == 1
        if not once or done["released"] > releases:
            raise Failed(f"expected {releases} releases and one end of case {case.id}: {trail}")
        if wrong := self.stage.app.desk.verify(case.id):
            raise Failed(f"expected a whole audit of case {case.id}: {wrong}")


class Copies:
    """What was released while a queue of ours listened, to be sent again as it was."""

    def __init__(self, stage: Stage, job: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(stage.direct))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._job = job
        self._queue = self._channel.queue_declare("copies", durable=True).method.queue
        self._channel.queue_bind(self._queue, JOBS, "work")

    def come_again(self, count: int) -> None:
        """Publish every second attempt that was heard, as if a broker had kept it for long."""
        self._channel.queue_unbind(self._queue, JOBS, "work")  # not to hear ourselves
        sent = 0
        while True:
            method, properties, body = self._channel.basic_get(self._queue, auto_ack=True)
            if method is None:
                break
            if properties.type == self._job and properties.headers.get(ATTEMPT) == 2:
                self._channel.basic_publish(JOBS, "work", body, properties, mandatory=True)
                sent += 1
        if sent != count:
            raise Failed(f"expected {count} releases to copy, got {sent}")

    def close(self) -> None:
        """Delete the queue."""
        with contextlib.closing(self._connection):
            self._channel.queue_delete(self._queue)


@contextlib.contextmanager
def copied(stage: Stage, job: str) -> Iterator[Copies]:
    """Keep a copy of each message of this job."""
    made = Copies(stage, job)
    with contextlib.closing(made):
        yield made
