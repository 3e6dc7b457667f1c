"""A snapshot is shared by CreateVolumePermission as well as by OperationType.

Upstream: moto takes UserIds and GroupNames only and answers success to the other form, so that nothing is shared and
nothing can be taken back. It runs in moto's process (see moto_engine.py).
"""

from moto.ec2.responses.elastic_block_store import ElasticBlockStore


def apply():
    modify = ElasticBlockStore.modify_snapshot_attribute

    def modified(self):
        answer = modify(self)
        changes, snapshot = self._get_param("CreateVolumePermission", {}), self._get_param("SnapshotId")
        for way, change in (("Add", self.ec2_backend.add_create_volume_permission),
                            ("Remove", self.ec2_backend.remove_create_volume_permission)):
            if entries := changes.get(way):
                change(snapshot, user_ids=[e["UserId"] for e in entries if e.get("UserId")],
                       groups=[e["Group"] for e in entries if e.get("Group")])
        return answer

    ElasticBlockStore.modify_snapshot_attribute = modified
