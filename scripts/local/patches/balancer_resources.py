"""The classic load balancers that a request is checked against.

Upstream: requests about classic load balancers are checked against "*", so that a grant for one denies all. (Target
groups are checked as they should be.) Reads have no resource level.
"""

from patches.iam_resources import register


def apply():
    register("elasticloadbalancing")(describe)


def describe(request, checks):
    name = request.param("LoadBalancerName")
    if name and not request.action.startswith("Describe"):
        checks.resources = [request.arn_of(f"loadbalancer/{name}")]
