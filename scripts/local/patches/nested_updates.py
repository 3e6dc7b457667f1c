"""An update of a nested stack keeps the attributes of its resources.

Upstream: a resource that the update leaves as it was loses what Fn::GetAtt reads from it, and the update fails.
"""

from ministack.services.cloudformation import _stacks, provisioners


def apply():
    update = provisioners._update_resource

    def updated(resource_type, physical_id, old, new, stack, logical_id=None, old_attrs=None):
        kept = (_stacks.get(stack) or {}).get("_resources", {}).get(logical_id) or {}
        before = old_attrs or kept.get("Attributes") or {}
        new_id, attributes = update(resource_type, physical_id, old, new, stack, logical_id, before)
        return new_id, ({**before, **(attributes or {})} if new_id == physical_id else attributes)

    provisioners._update_resource = updated
