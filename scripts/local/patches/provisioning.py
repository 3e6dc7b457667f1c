"""Properties that CloudFormation drops, set after it has made or updated a resource: shared by such patches."""

from ministack.services.cloudformation import provisioners


def after(resource_type, finish):
    """Has finish(physical id, properties) called whenever a resource of that type was created or updated."""
    handlers = provisioners._RESOURCE_HANDLERS[resource_type]
    create, update = handlers["create"], handlers.get("update")

    def created(logical_id, properties, stack):
        result = create(logical_id, properties, stack)
        finish(result[0], properties)
        return result

    def updated(physical_id, old, new, *more):
        result = update(physical_id, old, new, *more)
        finish(result[0], new)
        return result

    handlers["create"] = created
    if update:
        handlers["update"] = updated
