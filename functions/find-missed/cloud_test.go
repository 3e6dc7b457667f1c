package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/accessanalyzer"
	aatypes "github.com/aws/aws-sdk-go-v2/service/accessanalyzer/types"
	"github.com/aws/aws-sdk-go-v2/service/configservice"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	shtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"
)

const (
	hubAccount = "111111111111"
	clinic     = "222222222222"
	pharmacy   = "333333333333"
	home       = "us-east-1"
	respond    = "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond"
)

var noon = time.Date(2026, 1, 15, 12, 0, 30, 0, time.UTC)

// world is AWS as far as this function sees it: what the services have in each account, the machine, the ledger.
type world struct {
	missed
	t     testing.TB
	store *ledger.Memory
	in    setting.Installed

	mu       sync.Mutex
	clock    time.Time
	calls    int
	slow     time.Duration           // what a call takes
	fail     func(call string) error // call is "service.Call account region"
	threats  map[string][]gdtypes.Finding
	findings map[string][]shtypes.AwsSecurityFinding
	rules    map[string]map[string][]configtypes.EvaluationResult
	shared   map[string][]aatypes.FindingSummaryV2
	access   map[string]aatypes.ExternalAccessDetails // by finding
	members  []string                                 // of the hub
	started  map[string]string                        // name to input
	running  map[string]bool                          // executions, by name
	order    []string
	notices  []string
	mute     error // what SNS answers
	stored   int
	waited   []time.Duration
}

func newWorld(t testing.TB, accounts ...string) *world {
	w := &world{
		t: t, store: ledger.NewMemory(), clock: noon, threats: map[string][]gdtypes.Finding{}, findings: map[string][]shtypes.AwsSecurityFinding{},
		rules: map[string]map[string][]configtypes.EvaluationResult{}, shared: map[string][]aatypes.FindingSummaryV2{}, access: map[string]aatypes.ExternalAccessDetails{}, started: map[string]string{},
	}
	for _, a := range accounts {
		w.in.Accounts = append(w.in.Accounts, setting.Account{ID: a, Regions: []string{home}})
	}
	w.store.Fail = func(op string, k ledger.Key) error {
		if k.PK == "" || k.SK == "" && op != "open" {
			t.Errorf("%s of %v: DynamoDB takes no empty value of a key", op, k)
		}
		return w.call("ledger." + op + " " + k.PK)
	}
	w.missed = missed{
		store: w.store, settings: w, topic: channel.NewTopic(w, "topic"), evidence: w, bucket: "evidence", machine: w, respond: respond,
		closing: closure.Machines{API: w, Respond: respond, Release: strings.Replace(respond, "respond", "release", 1)},
		open: func(_ context.Context, in account.Scope) (services, error) {
			at := in.Account + " " + in.Region
			if in.Incident != session || in.Partition != "aws" {
				t.Errorf("a session for %+v", in)
			}
			return services{threats{w, at}, hubFindings{w, at}, configured{w, at}, exposed{w, at}}, w.call("sts.AssumeRole " + at)
		},
		own: func(region string) administration {
			at := hubAccount + " " + region
			return administration{threats{w, at}, hubFindings{w, at}, exposed{w, at}}
		},
		now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.clock
		},
		box: 90 * time.Second, wait: func(_ context.Context, d time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.waited = append(w.waited, d)
			w.clock = w.clock.Add(d)
		},
	}
	return w
}

func (w *world) Read(context.Context) (setting.Installed, error) { return w.in, w.call("settings") }

// call passes the time, and fails where the test wants it.
func (w *world) call(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.clock = w.clock.Add(w.slow)
	if w.fail != nil {
		return w.fail(name)
	}
	return nil
}

// run is one run of the function, an hour after the last where later says so.
func (w *world) run(later time.Duration) Report {
	w.t.Helper()
	w.clock = w.clock.Add(later)
	r, err := w.handle(context.Background(), request{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	err := w.call("s3.PutObject")
	w.stored++
	return &s3.PutObjectOutput{VersionId: aws.String("v1")}, err
}

func (w *world) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	err := w.call("sns.Publish")
	if w.mute != nil {
		return nil, w.mute
	}
	w.notices = append(w.notices, aws.ToString(in.Subject)+"\n"+aws.ToString(in.Message))
	return &sns.PublishOutput{}, err
}

// StartExecution starts each name once; what is started takes the incident.
func (w *world) StartExecution(ctx context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	if err := w.call("sfn.StartExecution"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	if _, ok := w.started[*in.Name]; ok || len(*in.Name) > 80 {
		w.mu.Unlock()
		return nil, &sfntypes.ExecutionAlreadyExists{}
	}
	w.started[*in.Name] = *in.Input
	w.order = append(w.order, *in.Name)
	w.mu.Unlock()
	if list, err := finding.Decode([]byte(*in.Input)); err == nil {
		w.arrives(list[0])
	}
	return &sfn.StartExecutionOutput{}, nil
}

func (w *world) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	out := &sfn.DescribeExecutionOutput{Status: sfntypes.ExecutionStatusSucceeded}
	if w.running[(*in.ExecutionArn)[strings.LastIndex(*in.ExecutionArn, ":")+1:]] {
		out.Status = sfntypes.ExecutionStatusRunning
	}
	return out, w.call("sfn.DescribeExecution")
}

// arrives has the machine take the finding's incident, whoever started it.
func (w *world) arrives(f finding.Finding) {
	w.t.Helper()
	w.mu.Lock()
	was := w.fail
	w.fail = nil
	w.mu.Unlock()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey(f.IncidentID()))
	if err == nil {
		it.Value = ledger.Incident{ID: f.IncidentID(), Status: incident.Contained, Band: f.Band, Episode: it.Value.Episode + 1}
		err = ledger.Save(context.Background(), w.store, &it)
	}
	w.mu.Lock()
	w.fail = was
	w.mu.Unlock()
	if err != nil && !errors.Is(err, ledger.ErrConflict) {
		w.t.Error(err)
	}
}

// incidents counts, by incident, the executions that were started.
func (w *world) incidents() map[string]int {
	out := map[string]int{}
	for name := range w.started {
		out[name[:strings.Index(name, "-m")]]++
	}
	return out
}

func throttle() error {
	return &smithy.GenericAPIError{Code: "ThrottlingException", Message: "Rate exceeded"}
}
func denied() error {
	return &smithy.GenericAPIError{Code: "AccessDenied", Message: "not authorized to perform sts:AssumeRole"}
}

// part cuts a list into pages; the token is where the next begins.
func part[T any](list []T, token *string, size int) ([]T, *string, error) {
	from := 0
	if t := aws.ToString(token); t != "" {
		var err error
		if from, err = strconv.Atoi(t); err != nil || from > len(list) {
			return nil, nil, &smithy.GenericAPIError{Code: "InvalidNextTokenException"}
		}
	}
	to := min(from+size, len(list))
	if to == len(list) {
		return list[from:to], nil, nil
	}
	return list[from:to], aws.String(strconv.Itoa(to)), nil
}

type threats struct {
	*world
	at string
}

func (f threats) ListDetectors(context.Context, *guardduty.ListDetectorsInput, ...func(*guardduty.Options)) (*guardduty.ListDetectorsOutput, error) {
	out := &guardduty.ListDetectorsOutput{}
	if _, ok := f.threats[f.at]; ok {
		out.DetectorIds = []string{"12abc34d567e8fa901bc2d34e56789f0"}
	}
	return out, f.call("guardduty.ListDetectors " + f.at)
}

func (f threats) ListMembers(context.Context, *guardduty.ListMembersInput, ...func(*guardduty.Options)) (*guardduty.ListMembersOutput, error) {
	out := &guardduty.ListMembersOutput{}
	for _, m := range f.members {
		out.Members = append(out.Members, gdtypes.Member{AccountId: aws.String(m), RelationshipStatus: aws.String("Enabled")})
	}
	return out, f.call("guardduty.ListMembers " + f.at)
}

func (f threats) ListFindings(_ context.Context, in *guardduty.ListFindingsInput, _ ...func(*guardduty.Options)) (*guardduty.ListFindingsOutput, error) {
	if err := f.call("guardduty.ListFindings " + f.at + " " + aws.ToString(in.NextToken)); err != nil {
		return nil, err
	}
	since := *in.FindingCriteria.Criterion["updatedAt"].GreaterThanOrEqual
	var ids []string
	for _, one := range f.threats[f.at] {
		if at, err := time.Parse(time.RFC3339, *one.UpdatedAt); err == nil && at.UnixMilli() >= since && !aws.ToBool(one.Service.Archived) {
			ids = append(ids, *one.Id)
		}
	}
	ids, next, err := part(ids, in.NextToken, int(*in.MaxResults))
	return &guardduty.ListFindingsOutput{FindingIds: ids, NextToken: next}, err
}

func (f threats) GetFindings(_ context.Context, in *guardduty.GetFindingsInput, _ ...func(*guardduty.Options)) (*guardduty.GetFindingsOutput, error) {
	if len(in.FindingIds) > 50 {
		f.t.Errorf("%d findings at once", len(in.FindingIds))
	}
	if _, ok := f.threats[f.at]; !ok || *in.DetectorId != "12abc34d567e8fa901bc2d34e56789f0" {
		return nil, &smithy.GenericAPIError{Code: "BadRequestException"}
	}
	out := &guardduty.GetFindingsOutput{}
	wanted := map[string]bool{}
	for _, id := range in.FindingIds {
		wanted[id] = true
	}
	for _, one := range f.threats[f.at] {
		if wanted[*one.Id] {
			out.Findings = append(out.Findings, one)
		}
	}
	return out, f.call("guardduty.GetFindings " + f.at)
}

type hubFindings struct {
	*world
	at string
}

func (f hubFindings) ListMembers(context.Context, *securityhub.ListMembersInput, ...func(*securityhub.Options)) (*securityhub.ListMembersOutput, error) {
	out := &securityhub.ListMembersOutput{}
	for _, m := range f.members {
		out.Members = append(out.Members, shtypes.Member{AccountId: aws.String(m), MemberStatus: aws.String("Enabled")})
	}
	return out, f.call("securityhub.ListMembers " + f.at)
}

func (f hubFindings) GetFindings(_ context.Context, in *securityhub.GetFindingsInput, _ ...func(*securityhub.Options)) (*securityhub.GetFindingsOutput, error) {
	if err := f.call("securityhub.GetFindings " + f.at + " " + aws.ToString(in.NextToken)); err != nil {
		return nil, err
	}
	if _, ok := f.findings[f.at]; !ok {
		return nil, &shtypes.InvalidAccessException{Message: aws.String("not subscribed to AWS Security Hub")}
	}
	var wanted []shtypes.AwsSecurityFinding
	for _, one := range f.findings[f.at] {
		generator := in.Filters.GeneratorId
		if generator == nil || aws.ToString(one.GeneratorId) == *generator[0].Value && aws.ToString(one.AwsAccountId) == *in.Filters.AwsAccountId[0].Value {
			wanted = append(wanted, one)
		}
	}
	list, next, err := part(wanted, in.NextToken, int(*in.MaxResults))
	return &securityhub.GetFindingsOutput{Findings: list, NextToken: next}, err
}

type configured struct {
	*world
	at string
}

func (f configured) names() (out []string) {
	for name := range f.rules[f.at] {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (f configured) DescribeComplianceByConfigRule(_ context.Context, in *configservice.DescribeComplianceByConfigRuleInput, _ ...func(*configservice.Options)) (*configservice.DescribeComplianceByConfigRuleOutput, error) {
	if err := f.call("config.DescribeComplianceByConfigRule " + f.at); err != nil {
		return nil, err
	}
	names, next, err := part(f.names(), in.NextToken, 2)
	out := &configservice.DescribeComplianceByConfigRuleOutput{NextToken: next}
	for _, n := range names {
		c := configtypes.ComplianceTypeCompliant
		if len(f.rules[f.at][n]) > 0 {
			c = configtypes.ComplianceTypeNonCompliant
		}
		out.ComplianceByConfigRules = append(out.ComplianceByConfigRules, configtypes.ComplianceByConfigRule{ConfigRuleName: aws.String(n), Compliance: &configtypes.Compliance{ComplianceType: c}})
	}
	return out, err
}

func (f configured) DescribeConfigRules(_ context.Context, in *configservice.DescribeConfigRulesInput, _ ...func(*configservice.Options)) (*configservice.DescribeConfigRulesOutput, error) {
	out := &configservice.DescribeConfigRulesOutput{}
	id, region, _ := strings.Cut(f.at, " ")
	for _, n := range in.ConfigRuleNames {
		out.ConfigRules = append(out.ConfigRules, configtypes.ConfigRule{ConfigRuleName: aws.String(n), ConfigRuleArn: aws.String("arn:aws:config:" + region + ":" + id + ":config-rule/config-rule-" + n)})
	}
	return out, f.call("config.DescribeConfigRules " + f.at)
}

func (f configured) GetComplianceDetailsByConfigRule(_ context.Context, in *configservice.GetComplianceDetailsByConfigRuleInput, _ ...func(*configservice.Options)) (*configservice.GetComplianceDetailsByConfigRuleOutput, error) {
	if err := f.call("config.GetComplianceDetailsByConfigRule " + f.at + " " + *in.ConfigRuleName); err != nil {
		return nil, err
	}
	var wanted []configtypes.EvaluationResult
	for _, e := range f.rules[f.at][*in.ConfigRuleName] {
		if slices.Contains(in.ComplianceTypes, e.ComplianceType) {
			wanted = append(wanted, e)
		}
	}
	list, next, err := part(wanted, in.NextToken, int(in.Limit))
	return &configservice.GetComplianceDetailsByConfigRuleOutput{EvaluationResults: list, NextToken: next}, err
}

type exposed struct {
	*world
	at string
}

// ListAnalyzers: two of external access in each account that shares something, and one of another kind.
func (f exposed) ListAnalyzers(context.Context, *accessanalyzer.ListAnalyzersInput, ...func(*accessanalyzer.Options)) (*accessanalyzer.ListAnalyzersOutput, error) {
	out := &accessanalyzer.ListAnalyzersOutput{}
	if _, ok := f.shared[f.at]; ok {
		id, region, _ := strings.Cut(f.at, " ")
		for name, kind := range map[string]aatypes.Type{"zone": aatypes.TypeAccount, "organization": aatypes.TypeOrganization, "unused": aatypes.TypeAccountUnusedAccess} {
			out.Analyzers = append(out.Analyzers, aatypes.AnalyzerSummary{Arn: aws.String("arn:aws:access-analyzer:" + region + ":" + id + ":analyzer/" + name), Type: kind})
		}
	}
	return out, f.call("access-analyzer.ListAnalyzers " + f.at)
}

func (f exposed) ListFindingsV2(_ context.Context, in *accessanalyzer.ListFindingsV2Input, _ ...func(*accessanalyzer.Options)) (*accessanalyzer.ListFindingsV2Output, error) {
	if err := f.call("access-analyzer.ListFindingsV2 " + f.at); err != nil {
		return nil, err
	}
	if strings.HasSuffix(*in.AnalyzerArn, "/unused") {
		f.t.Error("an analyzer of unused access is read")
	}
	list := f.shared[f.at]
	if strings.HasSuffix(*in.AnalyzerArn, "/organization") {
		list = nil
	}
	list, next, err := part(list, in.NextToken, int(*in.MaxResults))
	return &accessanalyzer.ListFindingsV2Output{Findings: list, NextToken: next}, err
}

func (f exposed) GetFindingV2(_ context.Context, in *accessanalyzer.GetFindingV2Input, _ ...func(*accessanalyzer.Options)) (*accessanalyzer.GetFindingV2Output, error) {
	if err := f.call("access-analyzer.GetFindingV2 " + f.at); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(f.shared[f.at], func(s aatypes.FindingSummaryV2) bool { return *s.Id == *in.Id })
	if i < 0 {
		return nil, &aatypes.ResourceNotFoundException{}
	}
	s := f.shared[f.at][i]
	return &accessanalyzer.GetFindingV2Output{
		Id: s.Id, Status: s.Status, ResourceType: s.ResourceType, Resource: s.Resource, ResourceOwnerAccount: s.ResourceOwnerAccount, CreatedAt: s.CreatedAt, AnalyzedAt: s.AnalyzedAt, UpdatedAt: s.UpdatedAt,
		FindingDetails: []aatypes.FindingDetails{&aatypes.FindingDetailsMemberExternalAccessDetails{Value: f.access[*in.Id]}},
	}, nil
}

// sample reads an event of events/ and its detail.
func sample(t testing.TB, name string) (raw []byte, detail json.RawMessage) {
	t.Helper()
	raw, err := os.ReadFile("../../events/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Detail json.RawMessage }
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	return raw, e.Detail
}

// threat is a finding of GuardDuty as its API answers it: the SDK's types take the names of the event in any case.
func threat(t testing.TB, name string) gdtypes.Finding {
	t.Helper()
	_, detail := sample(t, name)
	var f gdtypes.Finding
	if err := json.Unmarshal(detail, &f); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var extra struct {
		Service struct{ AdditionalInfo json.RawMessage }
	}
	if json.Unmarshal(detail, &extra) == nil && f.Service != nil && extra.Service.AdditionalInfo != nil {
		f.Service.AdditionalInfo = &gdtypes.ServiceAdditionalInfo{Type: aws.String("default"), Value: aws.String(string(extra.Service.AdditionalInfo))}
	}
	return f
}

// base is read once: thousands are made of it, which share what they do not change.
var (
	once sync.Once
	base gdtypes.Finding
)

// mining is the n-th finding of an account, updated at that time.
func mining(t testing.TB, id string, n int, updated time.Time) gdtypes.Finding {
	once.Do(func() { base = threat(t, "guardduty-crypto-mining") })
	f := base
	f.AccountId, f.Id, f.UpdatedAt = aws.String(id), aws.String(fmt.Sprintf("%032x", n)), aws.String(updated.Format(time.RFC3339))
	f.Arn = aws.String("arn:aws:guardduty:" + home + ":" + id + ":detector/12abc34d567e8fa901bc2d34e56789f0/finding/" + *f.Id)
	return f
}

func imported(t testing.TB, name string) shtypes.AwsSecurityFinding {
	t.Helper()
	_, detail := sample(t, name)
	var d struct{ Findings []shtypes.AwsSecurityFinding }
	if err := json.Unmarshal(detail, &d); err != nil || len(d.Findings) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return d.Findings[0]
}

func evaluation(kind, id string, recorded time.Time) configtypes.EvaluationResult {
	return configtypes.EvaluationResult{ComplianceType: configtypes.ComplianceTypeNonCompliant, ResultRecordedTime: &recorded, ConfigRuleInvokedTime: &recorded,
		EvaluationResultIdentifier: &configtypes.EvaluationResultIdentifier{EvaluationResultQualifier: &configtypes.EvaluationResultQualifier{ResourceType: &kind, ResourceId: &id}}}
}
