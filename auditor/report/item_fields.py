"""What a scan says of each file, as a few flat texts, for programs that keep fields of tracks."""

from __future__ import annotations

from collections import defaultdict

from auditor.records import Pair, ScanResult, Verdict
from auditor.report.text.general import cluster_name
from auditor.scoring.originals import NOTHING_TELLS

FIELDS = ("audit_verdict", "audit_group", "audit_original", "audit_pairs", "audit_identifiers")
"""Their names; a file has those that say something."""


def item_fields(result: ScanResult) -> dict[str, dict[str, str]]:
    """Return the fields of each track that a scan says something of, by its id.

    ``audit_verdict`` is the strongest verdict of its flagged pairs, and ``audit_pairs`` has their
    ids; ``audit_group`` is the name of its cluster, in which ``audit_original`` is ``yes`` for the
    suggested original; ``audit_identifiers`` says ``shared`` where other audio has an identifier
    of its tags, and ``differing`` where the same audio has another one.
    """
    fields: defaultdict[str, dict[str, str]] = defaultdict(dict)
    pairs = [pair for pair in result.pairs if pair.flagged]
    copies = {group.tracks[0]: group.tracks for group in result.identical}
    for pair in sorted(pairs, key=_strength):
        for first in (pair.a, pair.b):
            for track_id in copies.get(first, (first,)):
                own = fields[track_id]
                own.setdefault("audit_verdict", pair.verdict or "match")
                ids = own.get("audit_pairs", "").split()
                own["audit_pairs"] = " ".join(dict.fromkeys((*ids, pair.pair_id)))
    for number, cluster in enumerate(result.clusters, start=1):
        for track_id in cluster.tracks:
            fields[track_id]["audit_group"] = cluster_name(number)
        if cluster.original and cluster.original_why != NOTHING_TELLS:
            fields[cluster.original]["audit_original"] = "yes"
    if result.identifiers is not None:
        for entry in result.identifiers.differing:
            for track_id in (entry.a, entry.b):
                fields[track_id]["audit_identifiers"] = "differing"
        for shared in result.identifiers.shared:
            for track_id in (track_id for group in shared.groups for track_id in group):
                fields[track_id]["audit_identifiers"] = "shared"
    return dict(fields)


def _strength(pair: Pair) -> int:
    """Return the place of the verdict of a pair, the strongest first; one without comes last."""
    order = [verdict.value for verdict in Verdict]
    return order.index(pair.verdict) if pair.verdict in order else len(order)
