package main

import (
	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// looking are the statements of a session that looks.
func looking(c action.Call) []account.Statement {
	w, _ := whoIs(c) // who is none of both has been refused before a session is taken
	whom := principal.Looking(c.Target)
	all := []account.Statement{
		{Actions: []string{"iam:GetPolicy", "iam:GetPolicyVersion"}, Resources: []string{w.policy}},
		{Actions: []string{"iam:GetAccountSummary"}, Resources: []string{"*"}}, // no resource level
	}
	if w.kind == principal.User {
		return append(all, account.Statement{Actions: []string{"iam:GetUser", "iam:GetUserPolicy", "iam:ListAttachedUserPolicies"}, Resources: whom})
	}
	return append(all,
		account.Statement{Actions: []string{"iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole"}, Resources: whom},
		account.Statement{Actions: []string{"ec2:DescribeInstances"}, Resources: []string{"*"}}) // no resource level
}

// changing are those of one that changes: of managed policies only ours can be attached or detached.
func changing(c action.Call) []account.Statement {
	w, _ := whoIs(c)
	whom := principal.ARNs(c.Target)
	ours := map[string]map[string]string{"ArnEquals": {"iam:PolicyARN": w.policy}}
	if w.kind == principal.User {
		return []account.Statement{
			{Actions: []string{"iam:AttachUserPolicy", "iam:DetachUserPolicy"}, Resources: whom, Condition: ours},
			{Actions: []string{"iam:PutUserPolicy", "iam:DeleteUserPolicy"}, Resources: whom},
		}
	}
	return []account.Statement{
		{Actions: []string{"iam:AttachRolePolicy", "iam:DetachRolePolicy"}, Resources: whom, Condition: ours},
		{Actions: []string{"iam:PutRolePolicy", "iam:DeleteRolePolicy"}, Resources: whom},
	}
}

type instances = ec2.Client

// clients is the reads of a session.
type clients struct {
	*iam.Client
	*instances
}
