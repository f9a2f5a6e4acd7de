"""How a Kafka topic is logged in to, in the words of Nuclio and of KEDA; passwords are referred to, never written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import SpecError
from .streams import Stream

USER, PASSWORD = "sasl_plain_username", "sasl_plain_password"
CERTIFICATES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
KEDA = {"PLAIN": "plaintext", "SCRAM-SHA-256": "scram_sha256", "SCRAM-SHA-512": "scram_sha512"}


@dataclass(frozen=True)
class KafkaLogin:
    """What a stream's options say of encryption and login.

    :param mechanism: of SASL; empty where nobody logs in
    :param secret: the name of the secret with the password

    >>> KafkaLogin.of(Stream(name="q", url="kafka://b/t", options={"security_protocol": "SASL_SSL"})).encrypted
    True
    """

    encrypted: bool = False
    mechanism: str = ""
    user: str = ""
    secret: str = ""

    @classmethod
    def of(cls, stream: Stream) -> KafkaLogin:
        """The login of a stream.

        :raises SpecError: its mechanism is none that Nuclio and KEDA have
        """
        protocol = str(stream.options.get("security_protocol") or "").upper()
        mechanism = str(stream.options.get("sasl_mechanism") or "PLAIN").upper() if protocol.startswith("SASL") else ""
        if mechanism and mechanism not in KEDA:
            raise SpecError(
                f"queue '{stream.name}': sasl_mechanism='{mechanism}' is for containers without scaling; Nuclio and "
                f"KEDA log in with {', '.join(KEDA)}"
            )
        user = str(stream.options.get(USER) or "")
        return cls(protocol.endswith("SSL"), mechanism, user, stream.secrets.get(PASSWORD, ""))

    def in_nuclio(self, stream: Stream, given: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of Nuclio's trigger.

        :param given: attributes that the user gave
        :raises SpecError: Nuclio would not find the password
        """
        found: dict[str, Any] = {"tls": {"enable": True}} if self.encrypted else {}
        own = next((name for name in CERTIFICATES if stream.options.get(name)), None)
        if self.encrypted and own and not any(given.get(name) for name in ("caCert", "secretPath")):
            raise SpecError(
                f"queue '{stream.name}': {own}= is a file that Nuclio, which reads Kafka itself, does not look "
                "at: give it the certificate's text with trigger_args={'extra_attributes': {'caCert': …}}, or the "
                "folder of a mounted Secret with secretPath"
            )
        if not self.mechanism:
            return found
        if not given.get("secretPath"):
            raise SpecError(
                f"queue '{stream.name}': Nuclio logs in to Kafka itself, with the files of a mounted Secret: mount it "
                "with spec.volumes and volume_mounts, and name its folder with trigger_args={'extra_attributes': "
                "{'secretPath': '/etc/kafka'}}"
            )
        return found | {"sasl": {"enable": True, "handshake": True, "user": self.user, "mechanism": self.mechanism}}

    def in_keda(self) -> dict[str, str]:
        """The metadata of KEDA's trigger."""
        sasl = {"sasl": KEDA[self.mechanism]} if self.mechanism else {}
        return sasl | ({"tls": "enable"} if self.encrypted else {})
