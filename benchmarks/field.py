"""Who takes part, and how each is set: as reliable as it can be."""

from __future__ import annotations

from benchmarks.contest import HERE, Contestant, python

CONTESTANTS = HERE / "contestants"


def _peer(name: str, program: str, **env: str) -> Contestant:
    return Contestant(name, (python(program), str(CONTESTANTS / f"{program}_app.py")), program, env)


def _ours(queue: str, name: str, send: str = "send-many") -> Contestant:
    """The worker is started as anybody starts it: by the command line."""
    interpreter = python("ours")
    return Contestant(
        name,
        (interpreter, str(CONTESTANTS / "ours.py")),
        f"bench.q.{queue}",
        {"BENCH_QUEUE": queue},
        prepare=("apply",),
        send=send,
        worker=(interpreter, "-m", "rabbitjobs", "--app", "ours:app", "consume", queue),
    )


def _raw(name: str, program: str, send: str) -> Contestant:
    command = (python("ours"), str(CONTESTANTS / f"{program}.py"))
    return Contestant(name, command, "raw", send=send)


OURS = _ours("coroutines", "rabbitjobs")
OURS_THREADS = _ours("threads", "rabbitjobs, threads")
OURS_CHILDREN = _ours("children", "rabbitjobs, 2 children")
OURS_FAILING = _ours("failing", "rabbitjobs")
# Its own prefetch of two for each thread costs it half of its speed.
DRAMATIQ = _peer("Dramatiq, 8 threads", "dramatiq", dramatiq_queue_prefetch="64")
DRAMATIQ_16 = _peer("Dramatiq, 8 threads, prefetch 16", "dramatiq")
CELERY = _peer("Celery, prefork 1", "celery", BENCH_POOL="prefork:1")
CELERY_PREFORK_2 = _peer("Celery, prefork 2", "celery", BENCH_POOL="prefork:2")
CELERY_SOLO = _peer("Celery, solo", "celery", BENCH_POOL="solo:1")
CELERY_THREADS = _peer("Celery, 8 threads", "celery", BENCH_POOL="threads:8")
FASTSTREAM = _peer("FastStream", "faststream")
TASKIQ = _peer("taskiq", "taskiq")
PIKA = _raw("pika, asyncio", "raw_pika", "send-many")
PIKA_BLOCKING = _raw("pika, blocking", "raw_pika", "send")
AIO_PIKA = _raw("aio-pika", "raw_aio_pika", "send-many")
NATIVE = Contestant("C, librabbitmq", (str(HERE.parent / ".bench/client"),), "native")
