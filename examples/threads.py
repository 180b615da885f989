"""Many threads, one app: `send` is thread-safe, and the threads share one connection.

python -m examples.threads
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from examples.greetings import add


def send_and_wait(number: int) -> int:
    """One thread's work: send a job, wait for its result."""
    return add.send(number, 1).result(timeout=30)


def main(threads: int = 8, jobs: int = 40) -> None:
    """Send from several threads at once and add the results up."""
    with ThreadPoolExecutor(threads) as pool:
        print(sum(pool.map(send_and_wait, range(jobs))))


if __name__ == "__main__":
    main()
