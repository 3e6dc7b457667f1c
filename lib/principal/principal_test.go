package principal

import (
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/google/go-cmp/cmp"
)

func target(t *testing.T, arn string) incident.Target {
	t.Helper()
	out, err := incident.ParseTarget(incident.Step{Target: arn}, incident.Ref{Account: "222222222222", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		arn  string
		kind Kind
		name string
	}{
		{"arn:aws:iam::222222222222:role/clinic-web", Role, "clinic-web"},
		{"arn:aws:iam::222222222222:user/billing/exports/export", User, "export"},
		{"arn:aws:iam::222222222222:role/clinic-web", User, ""},
		{"arn:aws:iam::222222222222:root", User, ""},
		{"arn:aws:iam::222222222222:user/", User, ""},
		{"arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890", Role, ""},
		{"arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890", Role, ""},
	} {
		name, err := Of(target(t, c.arn), c.kind)
		if name != c.name || (err == nil) != (c.name != "") {
			t.Errorf("Of(%s, %s) = %q, %v, want %q", c.arn, c.kind, name, err, c.name)
		}
		if err != nil && !fault.Is(err, fault.BadInput) {
			t.Errorf("Of(%s, %s): %s, want BadInput", c.arn, c.kind, fault.NameOf(err))
		}
	}
}

func TestARNsCoverAnyPathOnlyWhenNoneIsGiven(t *testing.T) {
	for arn, want := range map[string][]string{
		"arn:aws:iam::222222222222:role/clinic-web":             {"arn:aws:iam::222222222222:role/clinic-web", "arn:aws:iam::222222222222:role/*/clinic-web"},
		"arn:aws-us-gov:iam::222222222222:user/export":          {"arn:aws-us-gov:iam::222222222222:user/export", "arn:aws-us-gov:iam::222222222222:user/*/export"},
		"arn:aws:iam::222222222222:user/billing/exports/export": {"arn:aws:iam::222222222222:user/billing/exports/export"},
	} {
		if diff := cmp.Diff(want, ARNs(target(t, arn))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", arn, diff)
		}
	}
}

func TestWhoIsGoneIsLookedForWithoutAPath(t *testing.T) {
	for arn, want := range map[string][]string{
		"arn:aws:iam::222222222222:role/clinic-web":             {"arn:aws:iam::222222222222:role/clinic-web", "arn:aws:iam::222222222222:role/*/clinic-web"},
		"arn:aws:iam::222222222222:user/billing/exports/export": {"arn:aws:iam::222222222222:user/billing/exports/export", "arn:aws:iam::222222222222:user/export"},
	} {
		if diff := cmp.Diff(want, Looking(target(t, arn))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", arn, diff)
		}
	}
}
