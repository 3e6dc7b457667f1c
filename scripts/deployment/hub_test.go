package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

func TestMembersBecomeParameters(t *testing.T) {
	ids, accounts := memberParameters("222222222222=clinic, 333333333333", "us-east-1,eu-central-1", "us-east-1")
	if ids != "222222222222,333333333333" {
		t.Errorf("Members %s", ids)
	}
	want := `[{"id":"222222222222","name":"clinic","regions":["us-east-1","eu-central-1"]},{"id":"333333333333","name":"333333333333","regions":["us-east-1","eu-central-1"]}]`
	if accounts != want {
		t.Errorf("Accounts %s", accounts)
	}
}

func TestTrustedBecomesParameters(t *testing.T) {
	user := strings.Repeat("0f", 32)
	got, err := trustedList("333333333333, o-abcdefghij," + user + ",444455556666")
	want := map[string]string{"TrustedAccounts": `["333333333333","444455556666"]`, "TrustedOrganization": "o-abcdefghij", "TrustedCanonicalUsers": `["` + user + `"]`}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := trustedList("none"); err != nil || !maps.Equal(got, map[string]string{"TrustedAccounts": "[]", "TrustedOrganization": "", "TrustedCanonicalUsers": "[]"}) {
		t.Errorf("none: %v, %v", got, err)
	}
}

// Wrong input is refused before AWS is asked anything.
func TestWrongInputIsNamed(t *testing.T) {
	people := filepath.Join(t.TempDir(), "people.json")
	if err := os.WriteFile(people, []byte(`[{"id":"alice","mail":"alice@example.com"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string]string{
		"say what to deploy: hub, member":            "",
		`"hubs" is none of hub, member, external-id`: "hubs",
		`--members: "12" is not an account id`:       "hub --members 12",
		"stands there twice":                         "hub --members 222222222222,222222222222=again",
		"--regions needs --members":                  "hub --regions us-east-1",
		`unknown field "mail"`:                       "hub --approvers " + people,
		"no such file":                               "hub --approvers missing.json",
		`"Mode" is not Name=value`:                   "hub --set Mode",
		"made and kept by this program":              "hub --set ExternalId=x",
		`"now" is no option`:                         "hub now",
		`--hub-account: "1" is not an account id`:    "member --hub-account 1 --hub-region us-east-1",
		`--hub-region: "mars" is not a region`:       "member --hub-account 111111111111 --hub-region mars",
		`--trusted: "*" is neither`:                  "hub --trusted 333333333333,*",
		`--trusted: "o-klmnopqrst" is neither`:       "hub --trusted o-abcdefghij,o-klmnopqrst",
		`--regions: "mars" is not a region`:          "hub --members 222222222222 --regions us-east-1,mars",
		`--regions: "venus" is not a region`:         "stack-sets --units ou-ab12-34cd56ef --regions venus",
		`--recorder: "maybe" is neither yes nor no`:  "stack-sets --units ou-ab12-34cd56ef --recorder maybe",
		`--arch: "arm" is neither arm64 nor x86_64`:  "hub --arch arm",
		`--organization: "x" is not an id`:           "hub --organization x",
		`--standby-of: "mars" is not a region`:       "hub --standby-of mars",
		`--forensic-account: "1" is not an account`:  "hub --forensic-account 1",
		`--standby-region: "mars" is not a region`:   "member --hub-account 111111111111 --hub-region us-east-1 --standby-region mars",
		`--security-account: "" is not an account`:   "organization",
		"--organization is needed with --rules":      "stack-sets --rules yes",
		`--to: "" is not a region`:                   "switch",
		`"everything" is no part of an installation`: "uninstall everything --yes",
		`forensics --help`:                           "forensics now --hub-account 111111111111",
	} {
		err := run(t.Context(), "", strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", args, err)
		}
	}
}

// The forensic account tells of the copies that it has, so it is listened to; a stand-by sleeps until somebody switches to it.
func TestOptionsHaveConsequences(t *testing.T) {
	s := &session{log: io.Discard}
	for args, want := range map[string]map[string]string{
		"--members 222222222222 --forensic-account 444444444444": {"Members": "222222222222,444444444444", "ForensicAccount": "444444444444"},
		"--standby-of eu-west-1":                                 {"StandbyRegion": "eu-west-1", "Active": "no"},
		"--organization o-abcdefghij":                            {"OrganizationId": "o-abcdefghij", "Active": ""},
	} {
		o, err := s.hubOptions(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.parameters("us-east-1", nil)
		for name, value := range want {
			if err != nil || got[name] != value {
				t.Errorf("hub %s: %s is %q (%v), not %q", args, name, got[name], err, value)
			}
		}
	}
	o, err := s.hubOptions([]string{"--standby-of", "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.parameters("us-east-1", nil); err == nil || !strings.Contains(err.Error(), "this very region") {
		t.Errorf("a stand-by of its own region: %v", err)
	}
}

func TestANewInstallationPlansAndAnOldOneKeepsItsMode(t *testing.T) {
	store := ledger.NewMemory()
	s := &session{log: io.Discard, begun: time.Now(), caller: "arn:aws:iam::111111111111:user/operator"}
	if err := s.firstSettings(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	now, err := setting.ReadGuard(t.Context(), store)
	if err != nil || now.Mode != setting.Plan || now.By != s.caller {
		t.Fatalf("first settings %+v, %v", now, err)
	}
	_, err = ledger.Update(t.Context(), store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		it.Value.Mode = setting.Act
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.firstSettings(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if now, err = setting.ReadGuard(t.Context(), store); err != nil || now.Mode != setting.Act {
		t.Errorf("settings %+v, %v", now, err)
	}
}
