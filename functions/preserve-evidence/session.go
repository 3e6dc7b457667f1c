package main

import (
	"fmt"

	"firebreak/lib/account"
	"firebreak/lib/evidence"
)

// copying is what a session may do that copies a snapshot under the evidence key. Which key the source is under is not known: any of
// its account's, and only through EBS.
func copying(in account.Scope, forensic string) []account.Statement {
	return append(snapshots(in, "ec2:CopySnapshot"), keys(in, in.Account, forensic)...)
}

// sharing is what a session may do that shares a copy.
func sharing(in account.Scope, snapshot, forensic string) account.Statement {
	return account.Statement{
		Actions: []string{"ec2:ModifySnapshotAttribute"}, Resources: []string{evidence.ARN(in.Partition, in.Region, snapshot)},
		Condition: map[string]map[string]string{"StringEquals": {"ec2:Add/userId": forensic}},
	}
}

// keeping is what a session in the forensic account may do.
func keeping(in account.Scope) []account.Statement {
	look := account.Statement{Actions: []string{"ec2:DescribeSnapshots"}, Resources: []string{"*"}} // EC2 has no resource level for Describe
	return append(append(snapshots(in, "ec2:CopySnapshot", "ec2:LockSnapshot"), look), keys(in, in.Account)...)
}

// snapshots allows actions on any snapshot, since a copy has no id before it is begun, and tagging what is being copied.
func snapshots(in account.Scope, actions ...string) []account.Statement {
	all := []string{evidence.ARN(in.Partition, in.Region, "*")}
	return []account.Statement{{Actions: actions, Resources: all}, {
		Actions: []string{"ec2:CreateTags"}, Resources: all,
		Condition: map[string]map[string]string{"StringEquals": {"ec2:CreateAction": "CopySnapshot"}},
	}}
}

// keys is what EBS does with keys in the caller's name while it copies (Amazon EBS user guide, required permissions for EBS
// encryption).
func keys(in account.Scope, accounts ...string) []account.Statement {
	var all []string
	for _, a := range accounts {
		all = append(all, fmt.Sprintf("arn:%s:kms:%s:%s:key/*", in.Partition, in.Region, a))
	}
	return []account.Statement{
		{
			Actions:   []string{"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"},
			Resources: all, Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "ec2.*"}},
		},
		{Actions: []string{"kms:CreateGrant"}, Resources: all, Condition: map[string]map[string]string{"Bool": {"kms:GrantIsForAWSResource": "true"}}},
	}
}
