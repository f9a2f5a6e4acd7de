"""Kafka, three steps, commit: how many JSON messages of 200 bytes does one consumer process put through a second?

The steps are the same three functions for all: parse the JSON, change it, check it. Beside Millrace's stream door stand
the raw clients in a plain loop that commits every 0.1 s, as the door does, and FastStream, Quix Streams and Faust with
their own defaults for commits. The same over the embedded log shows what door and graph cost without a broker.

The raw form that Millrace is measured against does the same parsing, the same steps and the same commits in a loop over
`consume(500)`, with the one setting of librdkafka that Millrace changes; what its defaults give stands beside it. On
kafka-python it is `poll()` in a loop, on the log the log's own consumer. Nobody but Millrace and the raw loops commits
only what is done: FastStream, Quix Streams and Faust commit every few seconds, FastStream before the handler ends.
"""

import sys
import tempfile
import uuid
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.options import Options, finish, read_options
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.subjects import Peer, Subject, WrongAnswer
from benchmarks.harness.venvs import VENVS, PeerUnavailable, say
from benchmarks.peers.consume_orders import total_cents

COUNTS = (20_000, 200_000)
QUICK_COUNTS = (4_000, 40_000)
RAW = {
    "millrace on the log": "the log's own consumer",
    "millrace on confluent-kafka": "confluent-kafka, consume()",
    "millrace on kafka-python": "kafka-python",
}
FAST_SECONDS = 20e-6  # who needs less for a message gets the larger topic
FAULTS = (PeerUnavailable, WrongAnswer)
RATE, CPU = "messages a second", "CPU us a message"


def on_log(folder: str) -> tuple[Subject, ...]:
    """The subjects that need no broker."""
    return (
        Subject("millrace on the log", "consume_millrace.py", arguments=(f"log://{folder}", "")),
        Subject("the log's own consumer", "consume_log.py", arguments=(folder,)),
        Subject("the steps alone", "consume_python.py"),
    )


def on_kafka(brokers: str) -> tuple[Subject, ...]:
    """The subjects that need a broker."""
    url = f"kafka://{brokers}"

    def faststream(name: str, *arguments: str) -> Subject:
        return Subject(name, "consume_faststream.py", environment="faststream", arguments=(*arguments, brokers))

    return (
        Subject("millrace on confluent-kafka", "consume_millrace.py", arguments=(url, "confluent-kafka")),
        Subject("confluent-kafka, consume()", "consume_confluent.py", arguments=("consume", brokers)),
        Subject("confluent-kafka, poll()", "consume_confluent.py", arguments=("poll", brokers)),
        Subject("confluent-kafka, its defaults", "consume_confluent.py", arguments=("consume", brokers, "defaults")),
        Subject("millrace on kafka-python", "consume_millrace.py", arguments=(url, "kafka-python")),
        Subject("kafka-python", "consume_kafka_python.py", arguments=(brokers,)),
        Subject("aiokafka", "consume_aiokafka.py", environment="faststream", arguments=(brokers,)),
        faststream("faststream on confluent-kafka", "confluent-kafka", "single"),
        faststream("faststream on confluent-kafka, batches", "confluent-kafka", "batch"),
        faststream("faststream on aiokafka", "aiokafka", "single"),
        faststream("faststream on aiokafka, batches", "aiokafka", "batch"),
        Subject("quix streams", "consume_quix.py", environment="quixstreams", arguments=(brokers,)),
        Subject("faust", "consume_faust.py", environment="faust", arguments=(brokers,)),
    )


class Store:
    """Topics with so many messages, and what was committed of them."""

    def __init__(self, script: str, place: str) -> None:
        self._peer = Peer(Subject("the store", script, arguments=(place,)))
        self.topics: dict[int, str] = {}

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()

    def fill(self, counts: tuple[int, ...]) -> None:
        """Make a topic for each count."""
        for count in counts:
            topic = self.topics[count] = f"consume-{count}-{uuid.uuid4().hex[:8]}"
            say(f"filling a topic with {count:,} messages")
            self._peer.run("fill", count, count, topic=topic)

    def consume(self, peer: Peer, count: int) -> float:
        """Let a peer consume in a new group; the seconds of a message.

        Raises WrongAnswer when it computed something else than was sent, or has not committed all in the end.
        """
        topic, group = self.topics[count], f"bench-{uuid.uuid4().hex}"
        seconds = peer.run("consume", count, total_cents(count), topic=topic, group=group)
        if peer.subject.script != "consume_python.py":
            self._peer.run("committed", count, count, topic=topic, group=group)
        return seconds


def _named(subject: Subject, versions: dict[str, str]) -> dict[str, str]:
    """The versions of a peer; a client that it brings along says whose it is."""
    of = f" ({subject.environment})" if subject.environment else ""
    return {name if name.startswith(subject.environment) else name + of: text for name, text in versions.items()}


def measure(results: Results, subjects: tuple[Subject, ...], store: Store, options: Options) -> None:
    """Rates and CPU times of all subjects, in turn, the turn the other way in every second round."""
    peers: dict[str, Peer] = {}
    counts: dict[str, int] = {}
    small, large = store.topics

    def drop(name: str, reason: Exception) -> None:
        say(f"{name} is left out: {reason}")
        results.drop(name, str(reason))
        if peer := peers.pop(name, None):
            peer.close()

    try:
        for subject in (subject for subject in subjects if options.takes(subject.name)):
            try:
                peers[subject.name] = peer = Peer(subject, install=options.may_install)
                results.versions.update(_named(subject, peer.versions))
                counts[subject.name] = large if store.consume(peer, small) < FAST_SECONDS else small
            except FAULTS as reason:
                drop(subject.name, reason)
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            for name in list(peers) if number % 2 == 0 else reversed(list(peers)):
                try:
                    results.add(name, RATE, 1 / store.consume(peers[name], counts[name]))
                    results.add(name, CPU, peers[name].run("cpu", 0) * 1e6)
                except FAULTS as reason:
                    drop(name, reason)
    finally:
        for peer in peers.values():
            peer.close()


def compare(results: Results, subjects: tuple[Subject, ...], store: Store, options: Options, where: str) -> None:
    """Measure, print, and say what share of the raw rates Millrace reaches."""
    measure(results, subjects, store, options)
    names = [subject.name for subject in subjects]
    title = f"{where}, three steps, commit: median (min-max) of {options.rounds} rounds"
    print_comparison(results, title, {RATE: RATE, CPU: CPU}, subjects=names, base=names[0])
    for ours, raw in RAW.items():
        mine, theirs = results.get(ours, RATE), results.get(raw, RATE)
        if ours in names and mine and theirs:
            share = mine.over(theirs)
            low, high = min(share.values), max(share.values)
            results.note(f"{ours}: {share.median:.0%} ({low:.0%}-{high:.0%}) of the rate of {raw}")


def compare_on_log(results: Results, options: Options, counts: tuple[int, ...]) -> None:
    """The embedded log, on the disk of the repository (a temporary folder may be in memory)."""
    VENVS.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="consume-", dir=VENVS.parent) as folder,
        Store("consume_store_log.py", folder) as store,
    ):
        store.fill(counts)
        compare(results, on_log(folder), store, options, "embedded log")


def compare_on_kafka(results: Results, options: Options, counts: tuple[int, ...]) -> list[str]:
    """Kafka, on a broker that is started for it, where Java and Maven work; the names of ours that took part."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "kafka"))
    from broker import BrokerMissing, begin, end

    try:
        broker = begin()
    except BrokerMissing as reason:
        for subject in on_kafka(""):
            results.drop(subject.name, f"no broker: {reason}")
        return []
    try:
        with Store("consume_store_kafka.py", broker.bootstrap) as store:
            store.fill(counts)
            compare(results, on_kafka(broker.bootstrap), store, options, "Kafka")
    finally:
        end(broker)
    return ["millrace on confluent-kafka", "millrace on kafka-python"]


def main() -> None:
    options = read_options(__doc__, rounds=5)
    counts = QUICK_COUNTS if options.is_quick else COUNTS
    results = Results("consume", unit="messages/s; us")
    compare_on_log(results, options, counts)
    on_brokers = compare_on_kafka(results, options, counts)
    finish(results, options, required=["millrace on the log", *on_brokers])


if __name__ == "__main__":
    main()
