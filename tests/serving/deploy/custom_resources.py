"""Schemas of what KEDA 2.16 and KServe 0.14 add to Kubernetes, as far as Millrace writes it.

Written after config/crd/bases/keda.sh_scaledobjects.yaml, keda.sh_triggerauthentications.yaml and
serving.kserve.io_inferenceservices.yaml; the API server drops unknown fields without a word, here they are refused.
"""

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def closed(properties, *required):
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


METADATA = {"type": "object", "required": ["name", "labels"]}


def resource(version, kind, spec):
    return closed({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec},
                  "apiVersion", "kind", "metadata", "spec")  # fmt: skip


KAFKA = closed(
    {
        **dict.fromkeys(("bootstrapServers", "consumerGroup", "topic"), TEXT),
        "lagThreshold": {"type": "string", "pattern": r"^\d+$"},
        "offsetResetPolicy": {"enum": ["latest", "earliest"]},
        "sasl": {"enum": ["plaintext", "scram_sha256", "scram_sha512"]},
        "tls": {"enum": ["enable", "disable"]},
    },
    "bootstrapServers", "consumerGroup", "topic",
)  # fmt: skip
SCALED_OBJECT = resource("keda.sh/v1alpha1", "ScaledObject", closed(
    {
        "scaleTargetRef": closed({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}, "name"),
        "minReplicaCount": NUMBER, "maxReplicaCount": NUMBER, "pollingInterval": NUMBER, "cooldownPeriod": NUMBER,
        "triggers": {"type": "array", "minItems": 1, "items": closed(
            {"type": {"const": "kafka"}, "name": TEXT, "metadata": KAFKA,
             "authenticationRef": closed({"name": TEXT, "kind": TEXT}, "name")}, "type", "metadata")},
    },
    "scaleTargetRef", "triggers",
))  # fmt: skip
TRIGGER_AUTHENTICATION = resource("keda.sh/v1alpha1", "TriggerAuthentication", closed({
    "secretTargetRef": {"type": "array", "items": closed(dict.fromkeys(("parameter", "name", "key"), TEXT),
                                                         "parameter", "name", "key")},
    "env": {"type": "array", "items": closed(dict.fromkeys(("parameter", "name", "containerName"), TEXT),
                                             "parameter", "name")},
}))  # fmt: skip
INFERENCE_SERVICE = resource("serving.kserve.io/v1beta1", "InferenceService", closed({
    "predictor": {"type": "object", "required": ["containers"],
                  "properties": {"minReplicas": NUMBER, "maxReplicas": NUMBER,
                                 "containers": {"type": "array", "minItems": 1, "maxItems": 1}}},
}, "predictor"))  # fmt: skip
SCHEMAS = {"ScaledObject": SCALED_OBJECT, "TriggerAuthentication": TRIGGER_AUTHENTICATION,
           "InferenceService": INFERENCE_SERVICE}  # fmt: skip
