// hipaa-phi-encryption-check is a custom rule of AWS Config: what a tag classifies as patient data is encrypted at rest, under a
// customer key unless the rule's parameter keys is "any". 45 CFR 164.312(a)(2)(iv) asks for encryption; a customer key is what
// lets an installation cut everybody off at once, and share evidence (a key of AWS's own cannot be shared).
//
// Second time: the same resource in the same state gets the same verdict; Config keeps the newest by the time of recording.
//
// Undo: none, it changes nothing. Firebreak acts on its verdicts only where the playbook says so.
package main

import (
	"context"

	"firebreak/lib/boot"
	"firebreak/lib/compliance"

	"github.com/aws/aws-sdk-go-v2/service/configservice"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// keys is the call that tells AWS's own keys from a customer's.
type keys interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
}

// rule judges encryption at rest.
type rule struct{ keys keys }

// storage is where a type of resource says whether it is encrypted and under which key, as AWS Config records it
// (awslabs/aws-config-resource-schema).
type storage struct {
	// on is true where it is encrypted; with one of values, where there are any; with any value but "", where there is no on.
	on     string
	values []string
	key    string
	// without is what no key means: "" for not encrypted, else the AWS key that then encrypts.
	without string
}

var stores = map[string]storage{
	"AWS::Backup::BackupVault": {key: "configuration.EncryptionKeyArn", without: "alias/aws/backup"},
	// A table without an SSE description is encrypted under a key that DynamoDB owns and nobody sees.
	"AWS::DynamoDB::Table":        {key: "configuration.ssedescription.kmsmasterKeyArn", without: "the key that DynamoDB owns"},
	"AWS::EC2::Volume":            {on: "configuration.encrypted", key: "configuration.kmsKeyId"},
	"AWS::EFS::FileSystem":        {on: "configuration.Encrypted", key: "configuration.KmsKeyId"},
	"AWS::Kinesis::Stream":        {on: "configuration.StreamEncryption.EncryptionType", values: []string{"KMS"}, key: "configuration.StreamEncryption.KeyId"},
	"AWS::OpenSearch::Domain":     {on: "configuration.EncryptionAtRestOptions.Enabled", key: "configuration.EncryptionAtRestOptions.KmsKeyId"},
	"AWS::RDS::DBCluster":         {on: "configuration.storageEncrypted", key: "configuration.kmsKeyId"},
	"AWS::RDS::DBInstance":        {on: "configuration.storageEncrypted", key: "configuration.kmsKeyId"},
	"AWS::RDS::DBSnapshot":        {on: "configuration.encrypted", key: "configuration.kmsKeyId"},
	"AWS::Redshift::Cluster":      {on: "configuration.encrypted", key: "configuration.kmsKeyId"},
	"AWS::S3::Bucket":             {key: "supplementaryConfiguration.ServerSideEncryptionConfiguration.rules.applyServerSideEncryptionByDefault.kmsMasterKeyID", without: "the keys that S3 owns"},
	"AWS::SecretsManager::Secret": {key: "configuration.KmsKeyId", without: "alias/aws/secretsmanager"},
	"AWS::SNS::Topic":             {key: "configuration.KmsMasterKeyId"},
	"AWS::SQS::Queue":             {key: "configuration.KmsMasterKeyId"},
}

// judge holds one resource against the rule.
func (r rule) judge(ctx context.Context, i compliance.Item, p compliance.Parameters) (compliance.Verdict, error) {
	s, known := stores[i.Type]
	if !known {
		return compliance.None("the rule does not know how %s is encrypted", i.Type), nil
	}
	key := i.Text(s.key)
	switch {
	case s.on != "" && !s.encrypted(i):
		return compliance.Violation("not encrypted at rest"), nil
	case key == "" && i.Type == "AWS::SQS::Queue" && i.True("configuration.SqsManagedSseEnabled"):
		key = "the keys that SQS owns"
	case key == "" && s.without != "":
		key = s.without
	case key == "" && s.on == "":
		return compliance.Violation("not encrypted at rest"), nil
	}
	if p.Keys == "any" {
		return compliance.Compliant(), nil
	}
	owner, err := r.owner(ctx, i, key)
	switch {
	case err != nil:
		return compliance.Verdict{}, err
	case owner != customer:
		return compliance.Violation("encrypted under %s, which %s: use a customer key", key, owner), nil
	}
	return compliance.Compliant(), nil
}

func (s storage) encrypted(i compliance.Item) bool {
	if len(s.values) == 0 {
		return i.True(s.on)
	}
	for _, v := range s.values {
		if i.Text(s.on) == v {
			return true
		}
	}
	return false
}

func main() {
	b := boot.Load()
	r := rule{keys: kms.NewFromConfig(b.AWS)}
	boot.Start(compliance.Rule{API: configservice.NewFromConfig(b.AWS), Judge: r.judge}.Handle)
}
