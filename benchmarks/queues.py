"""Queues of 200-byte messages: how many a second go in, how many go through, and how soon does a reader wake?

*append*: one producer, in batches of 500, each durable before the next is given. *through*: the same with two consumer
processes of one group, until they have all. *wake-up*: from the append of a single message to the consumer's process.

The embedded log stands beside LMDB itself with the same group commit and beside Redis streams that fsync as often; kafka://
beside its own clients, on a real broker with one replica on this machine. v3io is left out: an emulator tells nothing.
"""

import sys
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.options import Options, finish, read_options
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.rounds import Case, measure
from benchmarks.harness.subjects import Subject

RATES = {"append": "append", "read": "through to 2 consumers"}
LATENCIES = {"wake-up p50": "wake-up p50", "wake-up p99": "wake-up p99"}
ON_DISK = (
    Subject("millrace log", "queue_millrace.py", arguments=("log",)),
    Subject("lmdb", "queue_lmdb.py"),
    Subject("redis streams", "queue_redis.py", environment="redis"),
)


def on_kafka(brokers: str) -> tuple[Subject, ...]:
    """The subjects that need a broker."""
    return (
        Subject("millrace on confluent-kafka", "queue_millrace.py", arguments=("kafka", brokers, "confluent-kafka")),
        Subject("confluent-kafka", "queue_confluent.py", arguments=(brokers,)),
        Subject("millrace on kafka-python", "queue_millrace.py", arguments=("kafka", brokers, "kafka-python")),
        Subject("kafka-python", "queue_kafka_python.py", arguments=(brokers,)),
    )


def compare(results: Results, subjects: tuple[Subject, ...], options: Options, where: str) -> None:
    """Measure subjects in turn, and print rates and latencies."""
    cases = [Case(name, name, lambda count: count) for name in (*RATES, *LATENCIES)]
    measure(results, subjects, cases, options)
    names = [subject.name for subject in subjects]
    for name in names:
        for case in RATES:
            if values := results.series.get((name, case)):
                results.series[name, case] = [1e6 / microseconds for microseconds in values]
    rounds = f"median (min-max) of {options.rounds} rounds"
    print_comparison(results, f"{where}: messages a second, {rounds}", RATES, subjects=names, base=names[0])
    print_comparison(results, f"{where}: microseconds, {rounds}", LATENCIES, subjects=names, base=names[0])


def compare_on_kafka(results: Results, options: Options) -> None:
    """The same on a broker that is started for it, where Java and Maven work."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "kafka"))
    from broker import BrokerMissing, begin, end

    try:
        broker = begin()
    except BrokerMissing as reason:
        for subject in on_kafka(""):
            results.drop(subject.name, f"no broker: {reason}")
        return
    try:
        compare(results, on_kafka(broker.bootstrap), options, "Kafka")
    finally:
        end(broker)


def main() -> None:
    options = read_options(__doc__, rounds=7)
    results = Results("queues", unit="messages/s; us")
    compare(results, ON_DISK, options, "on this machine's disk")
    compare_on_kafka(results, options)
    finish(results, options, required=["millrace log"])


if __name__ == "__main__":
    main()
