package finding

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Who is the kind of a principal.
type Who string

const (
	WhoUser      Who = "user"
	WhoRole      Who = "role" // a session of a role
	WhoRoot      Who = "root"
	WhoFederated Who = "federated"       // a federation token of a user
	WhoCenter    Who = "identity-center" // a person of IAM Identity Center: its roles are shared and cannot be changed in the account
	WhoService   Who = "service"
	WhoAccount   Who = "account"
	WhoOther     Who = "other" // named, but not in a way that is safe to act on; Principal.Doubt says why
)

// Whos lists them all.
func Whos() []Who {
	return []Who{WhoUser, WhoRole, WhoRoot, WhoFederated, WhoCenter, WhoService, WhoAccount, WhoOther}
}

// Principal is the identity that a finding names: whose credentials were used.
type Principal struct {
	Kind    Who    // empty where the finding names none
	Name    string // of the user or role, without its path
	ARN     string // of the user, role or root; with the path where the finding gives one
	Session string // the role session's name, where the finding gives it
	KeyID   string // as found
	Doubt   string
	// Elsewhere is the ARN that the finding gives, where it is another account's: nothing is done to it.
	Elsewhere string
}

var (
	longTermKey = regexp.MustCompile(`^AKIA[A-Z0-9]{12,124}$`)
	sessionKey  = regexp.MustCompile(`^ASIA[A-Z0-9]{12,124}$`)
)

// LongTerm tells whether the key that the finding names is a user's or root's long-term key. The prefix says so (AKIA,
// against ASIA for a session's): IAM User Guide, "IAM identifiers", unique ID prefixes.
func (p Principal) LongTerm() bool { return LongTerm(p.KeyID) }

// LongTerm tells whether that is the id of a long-term key.
func LongTerm(id string) bool { return longTermKey.MatchString(id) }

// OfSession tells whether the key that the finding names is a session's.
func (p Principal) OfSession() bool { return sessionKey.MatchString(p.KeyID) }

// reservedRole is what the names of the roles begin with that IAM Identity Center makes: IAM Identity Center User Guide,
// "Referencing permission sets in resource policies".
const reservedRole = "AWSReservedSSO_"

// linkedRole is what the names of service-linked roles begin with: only their service may change them (IAM User Guide, "Service-linked
// roles").
const linkedRole = "AWSServiceRoleFor"

// principal reads accessKeyDetails, in GuardDuty's words. userType, the unique id's prefix and the key's prefix must tell the
// same story; where they do not, the principal is named but not acted on.
func principal(f Finding, k tree) Principal {
	name, kind, unique := k.text("userName"), k.text("userType"), k.text("principalId")
	p := Principal{KeyID: k.text("accessKeyId"), Kind: WhoOther}
	if name == "" && kind == "" && unique == "" && p.KeyID == "" {
		return Principal{}
	}
	unique, p.Session, _ = strings.Cut(unique, ":")
	doubt := func(format string, args ...any) Principal {
		p.Kind, p.ARN, p.Doubt = WhoOther, "", fmt.Sprintf(format, args...)
		return p
	}
	resource := ""
	switch kind {
	case "IAMUser":
		p.Kind, resource = WhoUser, "user"
	case "AssumedRole", "Role":
		p.Kind, resource = WhoRole, "role"
	case "Root":
		p.Kind, p.Name, p.ARN = WhoRoot, "root", f.AccountARN()
		return p
	case "FederatedUser":
		p.Kind = WhoFederated
	case "IdentityCenterUser":
		p.Kind = WhoCenter
	case "AWSService":
		p.Kind = WhoService
	case "AWSAccount":
		p.Kind = WhoAccount
	default:
		p.Name = words(name, 128)
		return doubt("the user type is %q", words(kind, 40))
	}
	if resource == "" {
		p.Name = words(name, 128)
		return p
	}
	path := ""
	if a, err := arn.Parse(name); err == nil {
		given, rest, _ := strings.Cut(a.Resource, "/")
		switch {
		case a.AccountID != f.Account:
			p.Elsewhere = words(name, 2048)
			return doubt("the principal %s is of another account", words(name, 200))
		case given == "assumed-role" && p.Kind == WhoRole:
			rest, p.Session, _ = strings.Cut(rest, "/")
		case given != resource:
			return doubt("the user type is %s and the name %s", kind, words(name, 200))
		}
		name = rest
	}
	if i := strings.LastIndex(name, "/"); i >= 0 {
		path, name = strings.TrimPrefix(name[:i+1], "/"), name[i+1:]
	}
	p.Name = words(name, 128)
	switch {
	case !iamName.MatchString(name) || !iamPath.MatchString(path) || strings.Contains(path, ".."):
		return doubt("the user name is %q", words(k.text("userName"), 80))
	case p.Kind == WhoUser && (strings.HasPrefix(unique, "AROA") || unique == f.Account):
		return doubt("the user type is %s and the principal id %s", kind, words(unique, 40))
	case p.Kind == WhoRole && (strings.HasPrefix(unique, "AIDA") || unique == f.Account):
		return doubt("the user type is %s and the principal id %s", kind, words(unique, 40))
	case p.Kind == WhoRole && p.LongTerm():
		return doubt("the user type is %s and the key %s a long-term one, which roles do not have", kind, p.KeyID)
	case p.Kind == WhoRole && path != "" && name == p.Session:
		return doubt("the user name %q is a role's with its session's, or a path with a role's", words(k.text("userName"), 80))
	case p.Kind == WhoRole && strings.HasPrefix(name, reservedRole):
		p.Kind = WhoCenter
		return p
	case p.Kind == WhoRole && strings.HasPrefix(name, linkedRole):
		p.Kind = WhoService
		return p
	}
	p.ARN = fmt.Sprintf("arn:%s:iam::%s:%s/%s%s", f.Partition, f.Account, resource, path, name)
	return p
}

// identities are the resources that a principal stands for: the user or role, and the key.
func (f *Finding) identities(p Principal) []Resource {
	var out []Resource
	switch p.Kind {
	case WhoUser:
		out = append(out, Resource{Type: User, ID: p.Name, ARN: p.ARN, Account: f.Account})
	case WhoRole:
		out = append(out, Resource{Type: Role, ID: p.Name, ARN: p.ARN, Account: f.Account})
	}
	if p.KeyID != "" {
		out = append(out, Resource{Type: AccessKey, ID: words(p.KeyID, 128), Account: f.Account})
	}
	return out
}

// Ownerless gives the long-term keys that the finding names without saying whose they are. Their user has to be looked up before
// anything is done.
func (f Finding) Ownerless() []string {
	var out []string
	for _, r := range f.Of(AccessKey) {
		if LongTerm(r.ID) && (f.Principal.KeyID != r.ID || f.Principal.Kind == WhoOther && f.Principal.Name == "") {
			out = append(out, r.ID)
		}
	}
	return out
}

// Owned says whose a key is that the finding names: a user of the finding's account, or root for an empty name.
func (f *Finding) Owned(key, user string) {
	f.Principal = principal(*f, tree{"userName": user, "userType": "IAMUser", "accessKeyId": key})
	if user == "" {
		f.Principal = principal(*f, tree{"userName": "root", "userType": "Root", "accessKeyId": key})
	}
	for _, r := range f.identities(f.Principal) {
		f.add(r)
	}
}

// KeyTarget is what an action on a key is aimed at: its user. While nobody has looked up whose the key is, a name of the key
// itself, which no action takes: IAM gives keys no ARN. Empty for what is no key, and for root's.
func (f Finding) KeyTarget(key Resource) string {
	switch {
	case key.Type != AccessKey || f.Principal.Kind == WhoRoot && f.Principal.KeyID == key.ID:
		return ""
	case f.Principal.KeyID == key.ID && f.Principal.ARN != "":
		return f.Principal.ARN
	case iamName.MatchString(key.ID) && accountID.MatchString(f.Account):
		return fmt.Sprintf("arn:%s:iam::%s:access-key/%s", f.Partition, f.Account, key.ID)
	}
	return ""
}
