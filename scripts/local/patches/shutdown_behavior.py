"""What a shutdown of an instance means can be changed.

Upstream: moto answers success to ModifyInstanceAttribute with InstanceInitiatedShutdownBehavior and changes nothing. It
runs in moto's process (see moto_engine.py).
"""

from moto.core.responses import EmptyResult
from moto.ec2.responses.instances import InstanceResponse


def apply():
    modify = InstanceResponse.modify_instance_attribute

    def modified(self):
        if (behavior := self._get_param("InstanceInitiatedShutdownBehavior.Value")) is None:
            return modify(self)
        self.ec2_backend.modify_instance_attribute(
            self._get_param("InstanceId"), "instance_initiated_shutdown_behavior", behavior)
        return EmptyResult()

    InstanceResponse.modify_instance_attribute = modified
