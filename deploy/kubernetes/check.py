"""Checks manifests: against Kubernetes' own schemas, unknown fields refused, and whether what they name is there.

    python3 check.py FILE...
"""

import sys

import kubernetes_validate
import yaml

VERSIONS = ["1.33", "1.37"]


def pods(document):
    """The pod templates of a document."""
    if document["kind"] == "StatefulSet":
        yield document["spec"]["template"], document["spec"].get("volumeClaimTemplates", [])
    if document["kind"] == "SandboxTemplate":
        yield document["spec"]["podTemplate"], []


def schema(document):
    """What Kubernetes' own schemas know of a document."""
    if document["kind"] != "SandboxTemplate":
        return document
    # A resource of somebody else's, around a pod of Kubernetes' own.
    if document["apiVersion"] != "extensions.agents.x-k8s.io/v1alpha1" or set(document["spec"]) != {"podTemplate"}:
        raise ValueError(f"another SandboxTemplate than this knows: {document['apiVersion']}, {sorted(document['spec'])}")
    template = document["spec"]["podTemplate"]
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": document["metadata"], "template": template}


def references(documents):
    """What is named and not there."""
    configs = {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
    services = {one["metadata"]["name"] for one in documents if one["kind"] == "Service"}
    labels = []
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        for template, claims in pods(document):
            spec, labels = template["spec"], [*labels, template["metadata"]["labels"]]
            volumes = {one["name"] for one in spec["volumes"]} | {one["metadata"]["name"] for one in claims}
            for volume in spec["volumes"]:
                if "configMap" in volume and volume["configMap"]["name"] not in configs:
                    yield f"{name}: no ConfigMap {volume['configMap']['name']}"
            for container in spec["containers"]:
                ports = {one["name"] for one in container["ports"]}
                yield from (
                    f"{name}: no volume {one['name']}" for one in container["volumeMounts"] if one["name"] not in volumes
                )
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    port = container.get(probe, {"httpGet": {"port": next(iter(ports))}})["httpGet"]["port"]
                    if port not in ports:
                        yield f"{name}: {probe}: no port {port}"
        if document["kind"] == "StatefulSet" and document["spec"]["serviceName"] not in services:
            yield f"{name}: no Service {document['spec']['serviceName']}"
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("selector") if document["kind"] == "Service" else None
        selector = selector or (spec.get("selector") or spec.get("podSelector") or {}).get("matchLabels")
        if selector and not any(selector.items() <= one.items() for one in labels):
            yield f"{document['kind']} {document['metadata']['name']}: selects nothing"


def main(files):
    documents = []
    for file in files:
        with open(file, encoding="utf-8") as text:
            documents += yaml.safe_load_all(text)
    problems = []
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(schema(document), version, strict=True)
            except (kubernetes_validate.ValidationError, ValueError) as error:
                problems.append(f"{name}, Kubernetes {version}: {error}")
    # What refers to what is looked at where each of them has its form.
    problems += [] if problems else references(documents)
    for problem in problems:
        print(problem)
    print(f"{len(documents)} documents, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
