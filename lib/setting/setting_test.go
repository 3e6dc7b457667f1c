package setting

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

type fakeSSM struct {
	values  map[string]string
	changed time.Time
	calls   int
	err     error
	asked   []string
}

// GetParameterHistory gives two versions a page.
func (f *fakeSSM) GetParameterHistory(_ context.Context, in *ssm.GetParameterHistoryInput, _ ...func(*ssm.Options)) (*ssm.GetParameterHistoryOutput, error) {
	f.asked = append(f.asked, *in.Name)
	version := func(who string, at time.Time) types.ParameterHistory {
		return types.ParameterHistory{LastModifiedUser: &who, LastModifiedDate: &at}
	}
	if in.NextToken == nil {
		return &ssm.GetParameterHistoryOutput{NextToken: aws.String("2"), Parameters: []types.ParameterHistory{version("arn:aws:iam::111111111111:user/old", time.Now().Add(-30*24*time.Hour))}}, f.err
	}
	return &ssm.GetParameterHistoryOutput{Parameters: []types.ParameterHistory{version("arn:aws:iam::111111111111:user/alice", f.changed)}}, f.err
}

func (f *fakeSSM) GetParameters(_ context.Context, in *ssm.GetParametersInput, _ ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	f.calls++
	out := &ssm.GetParametersOutput{}
	for _, n := range in.Names {
		if v, ok := f.values[n]; ok {
			out.Parameters = append(out.Parameters, types.Parameter{Name: aws.String(n), Value: &v, LastModifiedDate: &f.changed, ARN: aws.String("arn:aws:ssm:us-east-1:111111111111:parameter" + n)})
		} else {
			out.InvalidParameters = append(out.InvalidParameters, n)
		}
	}
	return out, f.err
}

var good = map[string]string{
	"/firebreak/accounts":  `[{"id":"222222222222","name":"clinic","regions":["us-east-1"]}]`,
	"/firebreak/approvers": `[{"id":"alice","name":"Alice","email":"alice@example.com","severities":["CRITICAL"],"accounts":[],"principals":[]}]`,
	"/firebreak/approval":  `{"linkAlone":"none","hours":{"":24,"CRITICAL":4}}`,
	"/firebreak/playbook":  `{"source":"builtin"}`,
	"/firebreak/action":    `{"settleMilliseconds":5000,"leaseSeconds":90}`,
	"/firebreak/forensics": `{"account":"","lockMode":"governance","lockDays":2192}`,
}

func TestReadKeepsForAMinute(t *testing.T) {
	api := &fakeSSM{values: good}
	inst := NewInstallation(api, "/firebreak")
	for range 3 {
		in, err := inst.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := in.Account("222222222222"); !ok || a.Name != "clinic" || in.Action.LeaseSeconds != 90 {
			t.Errorf("read %+v", in)
		}
		if alice := in.Approvers[0]; !alice.Decides(incident.Critical, "222222222222") || alice.Decides(incident.High, "222222222222") {
			t.Error("alice is asked about the wrong incidents")
		}
	}
	if api.calls != 1 {
		t.Errorf("SSM was read %d times, want once", api.calls)
	}
}

func TestAMinuteLaterItIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeSSM{values: good}
		inst := NewInstallation(api, "/firebreak")
		for _, c := range []struct {
			later time.Duration
			calls int
		}{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}} {
			time.Sleep(c.later) // on the clock of synctest: nobody waits
			if _, err := inst.Read(t.Context()); err != nil || api.calls != c.calls {
				t.Errorf("%s later SSM was read %d times in all (%v), not %d", c.later, api.calls, err, c.calls)
			}
		}
	})
}

func TestWhatCannotBeReadStopsActing(t *testing.T) {
	for name, c := range map[string]struct{ key, value, says string }{
		"missing":           {"/firebreak/accounts", "", "/firebreak/accounts"},
		"not JSON":          {"/firebreak/playbook", "{", "/firebreak/playbook"},
		"an unknown key":    {"/firebreak/approval", `{"linkAlone":"none","hours":{"":24},"linkalnoe":1}`, "linkalnoe"},
		"a bad value":       {"/firebreak/approval", `{"linkAlone":"always","hours":{"":24}}`, "always"},
		"no default":        {"/firebreak/approval", `{"linkAlone":"none","hours":{}}`, "hours"},
		"no settle time":    {"/firebreak/action", `{"settleMilliseconds":0,"leaseSeconds":90}`, "settleMilliseconds"},
		"an unknown proof":  {"/firebreak/approval", `{"linkAlone":"none","hours":{"":24},"destructive":["oidc","carrier pigeon"]}`, "pigeon"},
		"an open issuer":    {"/firebreak/signin", `{"issuer":"http://login.example.com","clientId":"c"}`, "https"},
		"an empty source":   {"/firebreak/playbook", `{"source":""}`, "source"},
		"another source":    {"/firebreak/playbook", `{"source":"git"}`, "not builtin or s3"},
		"half a playbook":   {"/firebreak/playbook", `{"source":"s3","bucket":"b","key":"k"}`, "bucket, key and version"},
		"an unhashed one":   {"/firebreak/playbook", `{"source":"s3","bucket":"b","key":"k","version":"v","sha256":"abc"}`, "64 hexadecimal digits"},
		"built in and own":  {"/firebreak/playbook", `{"source":"builtin","bucket":"b"}`, "nothing else is set"},
		"a lock of nothing": {"/firebreak/forensics", `{"account":"333333333333","lockMode":"none","lockDays":1}`, "lockMode"},
		"trust in a name":   {"/firebreak/trusted", `{"accounts":["partner"]}`, "12 digits"},
		"trust in anybody":  {"/firebreak/trusted", `{"organization":"*"}`, "organization"},
		"trust in no user":  {"/firebreak/trusted", `{"canonicalUsers":["abc"]}`, "canonical user"},
		"trust, mistyped":   {"/firebreak/trusted", `{"acounts":["333333333333"]}`, "acounts"},
		"two values":        {"/firebreak/trusted", `{"accounts":[]} {"accounts":["333333333333"]}`, "behind its end"},
		"a lock of no days": {"/firebreak/forensics", `{"account":"333333333333","lockMode":"compliance","lockDays":0}`, "lockDays"},
	} {
		values := maps.Clone(good)
		if values[c.key] = c.value; c.value == "" {
			delete(values, c.key)
		}
		_, err := NewInstallation(&fakeSSM{values: values}, "/firebreak").Read(context.Background())
		if !fault.Is(err, fault.Unreadable) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want Unreadable naming %q", name, err, c.says)
		}
	}
	if _, err := NewInstallation(&fakeSSM{err: errors.New("boom")}, "/firebreak").Read(context.Background()); !fault.Is(err, fault.Unreadable) {
		t.Errorf("SSM down: %v, want Unreadable", err)
	}
}

func TestGuardSettingsFailClosed(t *testing.T) {
	ctx := context.Background()
	if _, err := ReadGuard(ctx, ledger.NewMemory()); !fault.Is(err, fault.Unreadable) {
		t.Errorf("missing settings: %v", err)
	}
	for name, change := range map[string]func(*Guard){
		"mode": func(g *Guard) { g.Mode = "ACT" }, "reserve": func(g *Guard) { g.Reserve = 21 }, "budget": func(g *Guard) { g.Budget = -1 },
		"shared": func(g *Guard) { g.Shared = 0 }, "steps": func(g *Guard) { g.Steps = 0 }, "hours": func(g *Guard) { g.ReleasedHours = -1 },
	} {
		s, it := ledger.NewMemory(), ledger.Item[Guard]{Key: GuardKey, Value: Defaults()}
		change(&it.Value)
		if err := ledger.Save(ctx, s, &it); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadGuard(ctx, s); !fault.Is(err, fault.Unreadable) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
	s, it := ledger.NewMemory(), ledger.Item[Guard]{Key: GuardKey, Value: Defaults()}
	if err := ledger.Save(ctx, s, &it); err != nil {
		t.Fatal(err)
	}
	if g, err := ReadGuard(ctx, s); err != nil || g.Mode != Plan {
		t.Errorf("a new installation is in mode %q (%v), want plan", g.Mode, err)
	}
}

func TestWhoMayDecideBy(t *testing.T) {
	for _, tt := range []struct {
		set                      Approval
		via                      string
		reversible, irreversible bool
	}{
		{Approval{LinkAlone: "none"}, ViaLink, false, false},
		{Approval{LinkAlone: "reversible"}, ViaLink, true, false},
		{Approval{LinkAlone: "destructive"}, ViaLink, true, true},
		{Approval{LinkAlone: "none"}, ViaSignIn, true, true},
		{Approval{LinkAlone: "none"}, ViaSlack, true, true},
		{Approval{LinkAlone: "none", Destructive: []string{"oidc", "cli"}}, ViaSlack, true, false},
		{Approval{LinkAlone: "none", Destructive: []string{"oidc", "cli"}}, ViaCLI, true, true},
		{Approval{LinkAlone: "none", Destructive: []string{}}, ViaCLI, true, false},
		{Approval{LinkAlone: "destructive"}, "", false, false},
		{Approval{LinkAlone: "destructive"}, "telepathy", false, false},
	} {
		if got := tt.set.Accepts(tt.via, false); got != tt.reversible {
			t.Errorf("%+v: %q for what can be undone: %v", tt.set, tt.via, got)
		}
		if got := tt.set.Accepts(tt.via, true); got != tt.irreversible {
			t.Errorf("%+v: %q for what cannot: %v", tt.set, tt.via, got)
		}
	}
}

// Sign-in and Slack are more ways to decide: an installation without them has the others.
func TestSignInAndSlackMayBeMissing(t *testing.T) {
	in, err := NewInstallation(&fakeSSM{values: good}, "/firebreak").Read(context.Background())
	if err != nil || in.SignIn.On() || in.Slack.On() {
		t.Errorf("%+v %v", in, err)
	}
	values := maps.Clone(good)
	values["/firebreak/signin"] = `{"issuer":"https://login.example.com","clientId":"firebreak"}`
	values["/firebreak/slack"] = `{"channel":"C0123456789","team":"T0123456789","secretArn":"arn:aws:secretsmanager:us-east-1:111111111111:secret:firebreak/channel/slack"}`
	if in, err = NewInstallation(&fakeSSM{values: values}, "/firebreak").Read(context.Background()); err != nil || !in.SignIn.On() || !in.Slack.On() {
		t.Errorf("%+v %v", in, err)
	}
}

// Who decides hears who has changed lately what decisions depend on; where nobody has, SSM is not asked.
func TestWhoChangedTheSettings(t *testing.T) {
	values := maps.Clone(good)
	values["/firebreak/signin"], values["/firebreak/slack"] = `{}`, `{}`
	api := &fakeSSM{values: values, changed: time.Now().Add(-30 * 24 * time.Hour)}
	in, err := NewInstallation(api, "/firebreak").Deciding(context.Background())
	if err != nil || len(in.Authors) != 0 || len(api.asked) != 0 {
		t.Errorf("%+v %v, asked for %v", in.Authors, err, api.asked)
	}
	api.changed = time.Now().Add(-time.Hour)
	inst := NewInstallation(api, "/firebreak")
	for range 3 {
		if in, err = inst.Deciding(context.Background()); err != nil || len(in.Authors) != 5 || in.Authors[0] != (Author{"playbook", "arn:aws:iam::111111111111:user/alice", api.changed}) {
			t.Errorf("%+v %v", in.Authors, err)
		}
	}
	if len(api.asked) != 10 {
		t.Errorf("asked %v", api.asked)
	}
	if in, err := inst.Read(context.Background()); err != nil || in.Authors != nil {
		t.Errorf("%+v %v", in.Authors, err)
	}
	if _, err := NewInstallation(onlyRead{api}, "/firebreak").Deciding(context.Background()); !fault.Is(err, fault.Unreadable) {
		t.Error(err)
	}
}

type onlyRead struct{ SSMAPI }

// Whoever is not told to be trusted is an outsider; without the setting those are all but the installation's own accounts.
func TestWhoIsTrusted(t *testing.T) {
	const user = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"
	values := maps.Clone(good)
	values["/firebreak/forensics"] = `{"account":"555555555555","lockMode":"governance","lockDays":1}`
	alone, err := NewInstallation(&fakeSSM{values: values}, "/firebreak").Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	values = maps.Clone(values)
	values["/firebreak/trusted"] = `{"accounts":["333333333333"],"organization":"o-abcdefghij","canonicalUsers":["` + user + `"]}`
	set, err := NewInstallation(&fakeSSM{values: values}, "/firebreak").Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		principal   string
		always, set bool
	}{
		{"222222222222", true, true}, {"arn:aws:iam::222222222222:root", true, true}, {"arn:aws:sts::222222222222:assumed-role/app/i-1", true, true},
		{"111111111111", true, true}, {"arn:aws:iam::555555555555:root", true, true},
		{"333333333333", false, true}, {"arn:aws:iam::333333333333:role/reader", false, true},
		{"o-abcdefghij", false, true}, {"arn:aws:organizations::333333333333:organization/o-abcdefghij", false, true}, {"arn:aws:organizations::333333333333:ou/o-abcdefghij/ou-ab12-34cd56ef", false, true},
		{user, false, true},
		{"arn:aws:organizations::333333333333:organization/o-klmnopqrst", false, false}, {"o-abcdefghijk", false, false},
		{"444455556666", false, false}, {"arn:aws:iam::444455556666:root", false, false}, {"arn:aws:s3:::333333333333", false, false},
		{"arn:aws:iam::444455556666:role/333333333333", false, false}, {"*", false, false}, {"", false, false}, {"cloudtrail.amazonaws.com", false, false}, {"arn:aws:iam::222222222222:saml-provider/clinic", false, false}, {"accounts.google.com", false, false},
	} {
		if got := alone.Trusts(tt.principal); (got != "") != tt.always {
			t.Errorf("without the setting %q is trusted: %q", tt.principal, got)
		}
		if got := set.Trusts(tt.principal); (got != "") != tt.set {
			t.Errorf("%q is trusted: %q, want %v", tt.principal, got, tt.set)
		}
	}
}
