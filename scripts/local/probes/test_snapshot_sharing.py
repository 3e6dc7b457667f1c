def shared(platform):
    """With whom a snapshot is shared after two are added and one is removed again."""
    ec2 = platform.moto("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    snapshot, sharing = ec2.create_snapshot(VolumeId=volume)["SnapshotId"], "createVolumePermission"
    for change in ({"Add": [{"UserId": "333333333333"}, {"UserId": "444455556666"}]}, {"Add": [{"Group": "all"}]},
                   {"Remove": [{"UserId": "444455556666"}]}):
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, Attribute=sharing, CreateVolumePermission=change)
    list = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute=sharing)["CreateVolumePermissions"]
    return sorted(entry.get("UserId") or entry["Group"] for entry in list)


def test_upstream_nothing_is_shared(plain):
    assert shared(plain) == []


def test_it_is_shared(patched):
    assert shared(patched) == ["333333333333", "all"]
