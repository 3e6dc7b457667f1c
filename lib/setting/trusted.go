package setting

import (
	"regexp"
	"slices"
	"strings"

	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Trusted is whom resources may be shared with, besides the installation's own accounts: <prefix>/trusted. Where the parameter is
// missing it is nobody else.
type Trusted struct {
	Accounts []string `json:"accounts,omitempty"`
	// Organization is trusted as a whole, where a resource names it (o-…). Which accounts it has, nobody asks: those that resources
	// name one by one stand in Accounts.
	Organization string `json:"organization,omitempty"`
	// CanonicalUsers are how bucket policies and ACLs call accounts that do not show their number.
	CanonicalUsers []string `json:"canonicalUsers,omitempty"`
}

var (
	accountID      = regexp.MustCompile(`^\d{12}$`)
	organizationID = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	canonicalUser  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (t Trusted) check() error {
	if i := slices.IndexFunc(t.Accounts, func(a string) bool { return !accountID.MatchString(a) }); i >= 0 {
		return fault.New(fault.Unreadable, "the setting trusted: %q is not an account id of 12 digits", t.Accounts[i])
	}
	if t.Organization != "" && !organizationID.MatchString(t.Organization) {
		return fault.New(fault.Unreadable, "the setting trusted: %q is not the id of an organization", t.Organization)
	}
	if i := slices.IndexFunc(t.CanonicalUsers, func(u string) bool { return !canonicalUser.MatchString(u) }); i >= 0 {
		return fault.New(fault.Unreadable, "the setting trusted: %q is not a canonical user id of 64 hexadecimal digits", t.CanonicalUsers[i])
	}
	return nil
}

// Trusts says why a principal is no outsider, "" for one that is: an account's id, an ARN with an account (IAM, STS), an
// organization's id or the ARN of one or of a unit of it, or a canonical user. Everybody (*), services and federations are always
// outsiders, whichever account a federation's provider is in: who comes through it is of no account.
func (i Installed) Trusts(principal string) string {
	a, err := arn.Parse(principal)
	if err == nil && a.Service == "organizations" {
		if parts := strings.Split(a.Resource, "/"); len(parts) > 1 && (parts[0] == "organization" || parts[0] == "ou") {
			principal = parts[1]
		}
	}
	account := principal
	if Federation(principal) {
		return ""
	}
	if err == nil && (a.Service == "iam" || a.Service == "sts") {
		account = a.AccountID
	}
	switch _, ours := i.Account(account); {
	case principal == "":
	case i.Trusted.Organization != "" && principal == i.Trusted.Organization:
		return "organization " + principal + " is on the trusted list"
	case slices.Contains(i.Trusted.CanonicalUsers, principal):
		return "canonical user " + principal + " is on the trusted list"
	case !accountID.MatchString(account):
	case ours:
		return "account " + account + " is one that Firebreak looks after"
	case account == i.Hub:
		return "account " + account + " is Firebreak's own"
	case account == i.Forensics.Account:
		return "account " + account + " keeps Firebreak's evidence"
	case slices.Contains(i.Trusted.Accounts, account):
		return "account " + account + " is on the trusted list"
	}
	return ""
}

// Federation tells whether a principal is the ARN of an identity provider.
func Federation(principal string) bool {
	a, err := arn.Parse(principal)
	return err == nil && (strings.HasPrefix(a.Resource, "saml-provider/") || strings.HasPrefix(a.Resource, "oidc-provider/"))
}
