package main

import (
	"context"
	"fmt"

	"firebreak/lib/action"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// Shared counts the instances that run with the role in the finding's region.
func (r revocation) Shared(ctx context.Context, c action.Call) (int, error) {
	name, err := principal.Of(c.Target, principal.Role)
	if err != nil {
		return 0, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return 0, err
	}
	var profiles []string
	for pages := iam.NewListInstanceProfilesForRolePaginator(api, &iam.ListInstanceProfilesForRoleInput{RoleName: &name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, missing(err, "list instance profiles of role %s", name)
		}
		for _, p := range page.InstanceProfiles {
			profiles = append(profiles, aws.ToString(p.Arn))
		}
	}
	if len(profiles) == 0 {
		return 0, nil
	}
	count := 0
	for pages := ec2.NewDescribeInstancesPaginator(api, &ec2.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("iam-instance-profile.arn"), Values: profiles},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}},
	}}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("list instances with role %s: %w", name, err)
		}
		for _, res := range page.Reservations {
			count += len(res.Instances)
		}
	}
	return count, nil
}
