package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/compliance"
	"firebreak/lib/compliance/compliancetest"

	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	ours       = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	awss       = "arn:aws:kms:us-east-1:222222222222:key/0987dcba-09fe-87dc-65ba-ab0987654321"
	dying      = "arn:aws:kms:us-east-1:222222222222:key/5555dcba-09fe-87dc-65ba-ab0987654321"
	elsewhere  = "arn:aws:kms:us-east-1:333333333333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	parameters = `{"tagKey":"data-classification","values":"phi","keys":"customer"}`
	anyKey     = `{"tagKey":"data-classification","values":"phi","keys":"any"}`
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

type fake struct{ err error }

func (f fake) DescribeKey(_ context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	if f.err != nil {
		return nil, f.err
	}
	meta := map[string]*kmstypes.KeyMetadata{
		ours: {KeyManager: kmstypes.KeyManagerTypeCustomer}, "alias/clinic": {KeyManager: kmstypes.KeyManagerTypeCustomer},
		awss: {KeyManager: kmstypes.KeyManagerTypeAws}, dying: {KeyManager: kmstypes.KeyManagerTypeCustomer, KeyState: kmstypes.KeyStatePendingDeletion},
	}[*in.KeyId]
	if meta == nil {
		return nil, &kmstypes.NotFoundException{}
	}
	return &kms.DescribeKeyOutput{KeyMetadata: meta}, nil
}

// cases are evaluation events: at least one that complies and one that does not for every type that the rule knows.
var cases = []struct {
	kind, body string
	want       string // the reason, "" where it complies
}{
	{"AWS::S3::Bucket", bucket(`{"sseAlgorithm":"aws:kms","kmsMasterKeyID":"` + ours + `"}`), ""},
	{"AWS::S3::Bucket", bucket(`{"sseAlgorithm":"aws:kms","kmsMasterKeyID":"` + elsewhere + `"}`), ""},
	{"AWS::S3::Bucket", bucket(`{"sseAlgorithm":"aws:kms","kmsMasterKeyID":"alias/clinic"}`), ""},
	{"AWS::S3::Bucket", bucket(`{"sseAlgorithm":"AES256"}`), "encrypted under the keys that S3 owns, which AWS manages: use a customer key"},
	{"AWS::S3::Bucket", bucket(`{"sseAlgorithm":"aws:kms"}`), "encrypted under the keys that S3 owns, which AWS manages: use a customer key"},
	{"AWS::EC2::Volume", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::EC2::Volume", `{"configuration":{"encrypted":true,"kmsKeyId":"` + awss + `"}}`, "encrypted under " + awss + ", which AWS manages: use a customer key"},
	{"AWS::EC2::Volume", `{"configuration":{"encrypted":true,"kmsKeyId":"` + dying + `"}}`, "encrypted under " + dying + ", which is about to be deleted: use a customer key"},
	{"AWS::EC2::Volume", `{"configuration":{"encrypted":false}}`, "not encrypted at rest"},
	{"AWS::EFS::FileSystem", `{"configuration":{"Encrypted":true,"KmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::EFS::FileSystem", `{"configuration":{"Encrypted":false}}`, "not encrypted at rest"},
	{"AWS::RDS::DBInstance", `{"configuration":{"storageEncrypted":true,"kmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::RDS::DBInstance", `{"configuration":{"storageEncrypted":false}}`, "not encrypted at rest"},
	{"AWS::RDS::DBCluster", `{"configuration":{"storageEncrypted":true,"kmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::RDS::DBCluster", `{"configuration":{}}`, "not encrypted at rest"},
	{"AWS::RDS::DBSnapshot", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::RDS::DBSnapshot", `{"configuration":{"encrypted":false}}`, "not encrypted at rest"},
	{"AWS::DynamoDB::Table", `{"configuration":{"ssedescription":{"status":"ENABLED","ssetype":"KMS","kmsmasterKeyArn":"` + ours + `"}}}`, ""},
	{"AWS::DynamoDB::Table", `{"configuration":{}}`, "encrypted under the key that DynamoDB owns, which AWS manages: use a customer key"},
	{"AWS::Redshift::Cluster", `{"configuration":{"encrypted":true,"kmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::Redshift::Cluster", `{"configuration":{"encrypted":false}}`, "not encrypted at rest"},
	{"AWS::OpenSearch::Domain", `{"configuration":{"EncryptionAtRestOptions":{"Enabled":true,"KmsKeyId":"` + ours + `"}}}`, ""},
	{"AWS::OpenSearch::Domain", `{"configuration":{"EncryptionAtRestOptions":{"Enabled":false}}}`, "not encrypted at rest"},
	{"AWS::Kinesis::Stream", `{"configuration":{"StreamEncryption":{"EncryptionType":"KMS","KeyId":"` + ours + `"}}}`, ""},
	{"AWS::Kinesis::Stream", `{"configuration":{"StreamEncryption":{"EncryptionType":"NONE"}}}`, "not encrypted at rest"},
	{"AWS::SQS::Queue", `{"configuration":{"KmsMasterKeyId":"` + ours + `"}}`, ""},
	{"AWS::SQS::Queue", `{"configuration":{"SqsManagedSseEnabled":"true"}}`, "encrypted under the keys that SQS owns, which AWS manages: use a customer key"},
	{"AWS::SQS::Queue", `{"configuration":{"SqsManagedSseEnabled":"false"}}`, "not encrypted at rest"},
	{"AWS::SNS::Topic", `{"configuration":{"KmsMasterKeyId":"` + ours + `"}}`, ""},
	{"AWS::SNS::Topic", `{"configuration":{"KmsMasterKeyId":"alias/aws/sns"}}`, "encrypted under alias/aws/sns, which AWS manages: use a customer key"},
	{"AWS::SNS::Topic", `{"configuration":{}}`, "not encrypted at rest"},
	{"AWS::SecretsManager::Secret", `{"configuration":{"KmsKeyId":"` + ours + `"}}`, ""},
	{"AWS::SecretsManager::Secret", `{"configuration":{}}`, "encrypted under alias/aws/secretsmanager, which AWS manages: use a customer key"},
	{"AWS::Backup::BackupVault", `{"configuration":{"EncryptionKeyArn":"` + ours + `"}}`, ""},
	{"AWS::Backup::BackupVault", `{"configuration":{"EncryptionKeyArn":"` + strings.Replace(ours, "1234", "9999", 1) + `"}}`, "encrypted under " + strings.Replace(ours, "1234", "9999", 1) + ", which does not exist: use a customer key"},
}

func bucket(rule string) string {
	return `{"supplementaryConfiguration":{"ServerSideEncryptionConfiguration":{"rules":[{"applyServerSideEncryptionByDefault":` + rule + `}]}}}`
}

func evaluate(t *testing.T, kind, parameters, body string) (compliance.Evaluation, error) {
	t.Helper()
	config := &compliancetest.Config{}
	return compliance.Rule{API: config, Judge: rule{fake{}}.judge}.Handle(t.Context(), compliancetest.Event(t, kind, "phi", parameters, body))
}

func TestPatientDataIsEncryptedUnderACustomerKey(t *testing.T) {
	seen := map[string][2]bool{}
	for _, c := range cases {
		got, err := evaluate(t, c.kind, parameters, c.body)
		if err != nil || got.Why != c.want || (c.want == "") != (got.Compliance == types.ComplianceTypeCompliant) {
			t.Errorf("%s %s: %+v, %v; want %q", c.kind, c.body, got, err, c.want)
		}
		s := seen[c.kind]
		s[0], s[1] = s[0] || c.want == "", s[1] || c.want != ""
		seen[c.kind] = s
	}
	for _, kind := range slices.Sorted(maps.Keys(stores)) {
		if seen[kind] != [2]bool{true, true} {
			t.Errorf("%s is not tried both ways", kind)
		}
	}
}

func TestAnyKeyIsEnoughWhereTheRuleSaysSo(t *testing.T) {
	for _, c := range cases {
		got, err := evaluate(t, c.kind, anyKey, c.body)
		encrypted := c.want != "not encrypted at rest"
		if err != nil || encrypted != (got.Compliance == types.ComplianceTypeCompliant) {
			t.Errorf("%s %s: %+v, %v", c.kind, c.body, got, err)
		}
	}
}

func TestUnknownTypesAreNotJudged(t *testing.T) {
	if got, err := evaluate(t, "AWS::EC2::Instance", parameters, `{}`); err != nil || got.Compliance != types.ComplianceTypeNotApplicable {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAKeyThatCannotBeReadIsNoVerdict(t *testing.T) {
	config := &compliancetest.Config{}
	r := compliance.Rule{API: config, Judge: rule{fake{errors.New("denied")}}.judge}
	got, err := r.Handle(t.Context(), compliancetest.Event(t, "AWS::EC2::Volume", "phi", parameters, `{"configuration":{"encrypted":true,"kmsKeyId":"`+ours+`"}}`))
	if err == nil || len(config.Taken) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
