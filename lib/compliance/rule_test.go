package compliance_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"firebreak/lib/compliance"
	"firebreak/lib/compliance/compliancetest"
	"firebreak/lib/fault"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/configservice/types"
)

const patient = `{"tagKey":"data-classification","values":"phi, patient"}`

// strict calls whatever it is asked about a violation, and says what it read.
func strict(_ context.Context, i compliance.Item, _ compliance.Parameters) (compliance.Verdict, error) {
	return compliance.Violation("deep %s, list %v", i.Text("supplementaryConfiguration.Policy.kmsMasterKeyID"), i.All("configuration.list.name")), nil
}

func TestATagDecidesWhatIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		class, body string
		left        bool
		want        types.ComplianceType
	}{
		"patient data":            {class: "phi", body: `{}`, want: types.ComplianceTypeNonCompliant},
		"in any case":             {class: "Patient", body: `{}`, want: types.ComplianceTypeNonCompliant},
		"other data":              {class: "public", body: `{}`, want: types.ComplianceTypeNotApplicable},
		"no tag":                  {body: `{"tags":{}}`, want: types.ComplianceTypeNotApplicable},
		"a tag without a value":   {class: "", body: `{}`, want: types.ComplianceTypeNotApplicable},
		"deleted":                 {class: "phi", body: `{"configurationItemStatus":"ResourceDeleted"}`, want: types.ComplianceTypeNotApplicable},
		"not recorded":            {class: "phi", body: `{"configurationItemStatus":"ResourceNotRecorded"}`, want: types.ComplianceTypeNotApplicable},
		"out of the rule's reach": {class: "phi", body: `{}`, left: true, want: types.ComplianceTypeNotApplicable},
	} {
		config := &compliancetest.Config{}
		event := compliancetest.Event(t, "AWS::S3::Bucket", c.class, patient, c.body)
		event.EventLeftScope = c.left
		got, err := compliance.Rule{API: config, Judge: strict}.Handle(t.Context(), event)
		if err != nil || got.Compliance != c.want || len(config.Taken) != 1 || config.Taken[0].ComplianceType != c.want {
			t.Errorf("%s: %+v, %v, reported %+v", name, got, err, config.Taken)
		}
	}
}

// Keys are found however Config spells them, through lists, and in JSON that is kept as text.
func TestValuesAreFound(t *testing.T) {
	config := &compliancetest.Config{}
	event := compliancetest.Event(t, "AWS::S3::Bucket", "phi", patient,
		`{"configuration":{"list":[{"Name":"a"},{"Name":"b"}]},"supplementaryConfiguration":{"Policy":"{\"kMSMasterKeyID\":\"key\"}"}}`)
	got, err := compliance.Rule{API: config, Judge: strict}.Handle(t.Context(), event)
	if err != nil || got.Why != "deep key, list [a b]" || aws.ToString(config.Taken[0].Annotation) != got.Why {
		t.Errorf("%+v, %v", got, err)
	}
	if at := config.Taken[0].OrderingTimestamp.Format("15:04:05.000"); at != "03:04:05.678" {
		t.Errorf("ordered by %s, not by when it was recorded", at)
	}
}

func TestAnOversizedResourceIsReadAtTheSource(t *testing.T) {
	config := &compliancetest.Config{History: []types.ConfigurationItem{{
		ResourceType: "AWS::S3::Bucket", ResourceId: aws.String("one"), Tags: map[string]string{"data-classification": "phi"},
		Configuration: aws.String(`{"list":[{"name":"a"}]}`), SupplementaryConfiguration: map[string]string{"Policy": `{"kmsMasterKeyID":"key"}`},
	}}}
	event := events.ConfigEvent{ResultToken: compliancetest.Token, RuleParameters: patient,
		InvokingEvent: `{"messageType":"OversizedConfigurationItemChangeNotification","configurationItemSummary":{"resourceType":"AWS::S3::Bucket","resourceId":"one","configurationItemStatus":"OK","configurationItemCaptureTime":"2026-01-02T03:04:05.678Z"}}`}
	rule := compliance.Rule{API: config, Judge: strict}
	if got, err := rule.Handle(t.Context(), event); err != nil || got.Why != "deep key, list [a]" {
		t.Errorf("%+v, %v", got, err)
	}
	config.History = nil
	if got, err := rule.Handle(t.Context(), event); !fault.Is(err, fault.NotVerified) {
		t.Errorf("without a record: %+v, %v", got, err)
	}
}

// What is not understood is no verdict: Config shows the rule as failing, and nothing as compliant.
func TestInDoubtNothingIsReported(t *testing.T) {
	good := compliancetest.Event(t, "AWS::S3::Bucket", "phi", patient, `{}`)
	for name, change := range map[string]func(*events.ConfigEvent, *compliancetest.Config){
		"a parameter's name mistyped": func(e *events.ConfigEvent, _ *compliancetest.Config) {
			e.RuleParameters = `{"tagkey":"x","value":"phi"}`
		},
		"no parameters": func(e *events.ConfigEvent, _ *compliancetest.Config) { e.RuleParameters = "" },
		"no values": func(e *events.ConfigEvent, _ *compliancetest.Config) {
			e.RuleParameters = `{"tagKey":"x","values":" "}`
		},
		"keys of nobody": func(e *events.ConfigEvent, _ *compliancetest.Config) {
			e.RuleParameters = strings.Replace(patient, "}", `,"keys":"ours"}`, 1)
		},
		"a schedule": func(e *events.ConfigEvent, _ *compliancetest.Config) {
			e.InvokingEvent = `{"messageType":"ScheduledNotification"}`
		},
		"not JSON":       func(e *events.ConfigEvent, _ *compliancetest.Config) { e.InvokingEvent = "<event/>" },
		"Config refuses": func(_ *events.ConfigEvent, c *compliancetest.Config) { c.Refuse = true },
		"Config is down": func(_ *events.ConfigEvent, c *compliancetest.Config) { c.Err = errors.New("down") },
	} {
		event, config := good, &compliancetest.Config{}
		change(&event, config)
		if got, err := (compliance.Rule{API: config, Judge: strict}).Handle(t.Context(), event); err == nil || len(config.Taken) > 0 {
			t.Errorf("%s: %+v, reported %+v", name, got, config.Taken)
		}
	}
}

func TestAReasonIsNeverTooLong(t *testing.T) {
	config := &compliancetest.Config{}
	long := func(context.Context, compliance.Item, compliance.Parameters) (compliance.Verdict, error) {
		return compliance.Violation("%s", strings.Repeat("é", 300)), nil
	}
	event := compliancetest.Event(t, "AWS::S3::Bucket", "phi", patient, `{}`)
	if _, err := (compliance.Rule{API: config, Judge: long}).Handle(t.Context(), event); err != nil || len([]rune(*config.Taken[0].Annotation)) != 256 {
		t.Errorf("%v, %d characters", err, len([]rune(*config.Taken[0].Annotation)))
	}
}
