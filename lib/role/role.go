// Package role knows what hangs on an IAM role.
package role

import (
	"context"
	"fmt"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// API are the calls that this package makes.
type API interface {
	ListInstanceProfilesForRole(context.Context, *iam.ListInstanceProfilesForRoleInput, ...func(*iam.Options)) (*iam.ListInstanceProfilesForRoleOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

// Uses counts the instances that run with the role in the session's region. Functions, tasks and people that use it are not
// counted, because no call lists them by role. Errors: ErrGone.
func Uses(ctx context.Context, api API, name string) (int, error) {
	var profiles []string
	for pages := iam.NewListInstanceProfilesForRolePaginator(api, &iam.ListInstanceProfilesForRoleInput{RoleName: &name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, principal.Said(err, "list instance profiles of role %s", name)
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

// Touchable refuses the roles that belong to AWS.
func Touchable(name, path string) error {
	switch {
	case strings.HasPrefix(path, "/aws-service-role/"):
		return action.Refuse("%s is a service-linked role: AWS's own service uses it, and it is never cut off", name)
	case strings.HasPrefix(path, "/aws-reserved/"):
		return action.Refuse("%s belongs to IAM Identity Center: end the person's sessions there", name)
	}
	return nil
}
