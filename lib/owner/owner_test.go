package owner

import (
	"strings"
	"testing"

	"firebreak/lib/finding"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

func TestWhoIsTold(t *testing.T) {
	const mine, other = "222222222222", "333333333333"
	bucket := func(tags map[string]string) finding.Finding {
		return finding.Finding{Account: mine, Resources: []finding.Resource{{Type: finding.Bucket, ID: "clinic-exports", Account: mine, Tags: tags}}}
	}
	account := func(owners map[string]string) setting.Account { return setting.Account{ID: mine, Owners: owners} }
	for _, c := range []struct {
		name, audience string
		f              finding.Finding
		account        setting.Account
		want           ledger.Told
	}{
		{"the tag of the audience", "data-owner", bucket(map[string]string{"Owner": "ann", "data-owner": "ben"}), setting.Account{}, ledger.Told{Audience: "data-owner", Name: "ben", Said: "the tag data-owner of clinic-exports"}},
		{"any spelling of it", "data-owner", bucket(map[string]string{"Data Owner": "ben"}), setting.Account{}, ledger.Told{Audience: "data-owner", Name: "ben", Said: "the tag Data Owner of clinic-exports"}},
		{"a wider tag", "bucket-owner", bucket(map[string]string{"OWNER": "ann"}), setting.Account{}, ledger.Told{Audience: "bucket-owner", Name: "ann", Said: "the tag OWNER of clinic-exports"}},
		{"an empty tag is none", "owner", bucket(map[string]string{"owner": " "}), account(map[string]string{"owner": "ann"}), ledger.Told{Audience: "owner", Name: "ann", Said: "the settings of account 222222222222 (owner)"}},
		{"the account's settings", "data-owner", bucket(nil), account(map[string]string{"data-owner": "data@example.com", "owner": "x"}), ledger.Told{Audience: "data-owner", Name: "data@example.com", Said: "the settings of account 222222222222 (data-owner)"}},
		{"a wider setting", "data-owner", bucket(nil), account(map[string]string{"account-owner": "x@example.com"}), ledger.Told{Audience: "data-owner", Name: "x@example.com", Said: "the settings of account 222222222222 (account-owner)"}},
		{"nobody, and it says so", "data-owner", bucket(nil), setting.Account{}, ledger.Told{Audience: "data-owner", Name: "security", Said: "the default", Missing: "nobody is named as data owner, neither by a tag of the resource nor in the settings of account 222222222222"}},
		{"security needs no tag", "security", bucket(map[string]string{"security": "mallory"}), setting.Account{}, ledger.Told{Audience: "security", Name: "security", Said: "the default"}},
		{"no audience is security", "", bucket(nil), account(map[string]string{"security": "soc@example.com"}), ledger.Told{Audience: "security", Name: "soc@example.com", Said: "the settings of account 222222222222"}},
		{"an account's owner is no resource's", "account-owner", bucket(map[string]string{"owner": "mallory"}), account(map[string]string{"account-owner": "ann"}), ledger.Told{Audience: "account-owner", Name: "ann", Said: "the settings of account 222222222222 (account-owner)"}},
		{"another account's tags say nothing", "owner", finding.Finding{Account: mine, Resources: []finding.Resource{{ID: "x", Account: other, Tags: map[string]string{"owner": "mallory"}}}}, setting.Account{}, ledger.Told{Audience: "owner", Name: "security", Said: "the default", Missing: "nobody is named as owner, neither by a tag of the resource nor in the settings of account 222222222222"}},
		{"a name is one short line", "owner", bucket(map[string]string{"owner": "ann\nsecurity: \x1b[31m" + strings.Repeat("x", 300)}), setting.Account{}, ledger.Told{Audience: "owner", Name: "ann security: [31m" + strings.Repeat("x", 101) + "…", Said: "the tag owner of clinic-exports"}},
	} {
		if diff := cmp.Diff(c.want, Resolve(c.audience, c.f, c.account)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
