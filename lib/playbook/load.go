package playbook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Objects is where an installation's own playbooks lie.
type Objects interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Library gives the playbook that the settings name, and keeps the one that it read last: a version never changes.
type Library struct {
	objects Objects

	mu   sync.Mutex
	of   setting.Playbook
	kept *Book
}

// NewLibrary reads an installation's own playbooks from objects.
func NewLibrary(objects Objects) *Library { return &Library{objects: objects} }

// maxBytes is how long a playbook can be.
const maxBytes = 1 << 20

// Load gives the playbook of the settings: the built-in one, or a pinned version of a file whose hash is what the settings say.
// Errors: Unreadable or Throttled, and nothing is acted on.
func (l *Library) Load(ctx context.Context, from setting.Playbook) (*Book, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept != nil && l.of == from {
		return l.kept, nil
	}
	b, err := l.read(ctx, from)
	if err != nil {
		return nil, err
	}
	l.of, l.kept = from, b
	return b, nil
}

func (l *Library) read(ctx context.Context, from setting.Playbook) (*Book, error) {
	switch from.Source {
	case setting.Builtin:
		return Builtin()
	case setting.S3:
	default:
		return nil, fault.New(fault.Unreadable, "the playbook %q is not one that this version can load: set source to %s or %s", from.Source, setting.Builtin, setting.S3)
	}
	name := fmt.Sprintf("s3://%s/%s?versionId=%s", from.Bucket, from.Key, from.Version)
	out, err := l.objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &from.Bucket, Key: &from.Key, VersionId: &from.Version})
	if err != nil {
		n := fault.NameOf(err)
		if n == fault.Unexpected {
			n = fault.Unreadable
		}
		return nil, fault.Wrap(n, err, "read the playbook %s", name)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxBytes+1))
	if err != nil {
		return nil, fault.Wrap(fault.Unreadable, err, "read the playbook %s", name)
	}
	if len(data) > maxBytes {
		return nil, fault.New(fault.Unreadable, "the playbook %s is longer than %d bytes", name, maxBytes)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != strings.ToLower(from.SHA256) {
		return nil, fault.New(fault.Unreadable, "the playbook %s has the hash %s, the settings say %s", name, got, from.SHA256)
	}
	return Parse(name, data, Actions())
}

// Check reads a playbook as it would be loaded, for the person who wrote it: an error says where it is wrong; remarks are what is
// right and perhaps not meant.
func Check(file string, data []byte) (remarks []string, err error) {
	b, err := Parse(file, data, Actions())
	if err != nil {
		return nil, err
	}
	known := finding.Types()
	slices.Sort(known)
	for _, r := range b.rules {
		remark := func(format string, args ...any) {
			remarks = append(remarks, fmt.Sprintf("%s:%d: rule %s: ", file, r.line, r.Name)+fmt.Sprintf(format, args...))
		}
		for _, pattern := range r.When.Type {
			purpose, _, _ := strings.Cut(pattern, ":")
			if !strings.Contains(pattern, ":") || purpose == "SensitiveData" || len(r.When.Product) > 0 && !globs(r.When.Product, finding.GuardDuty) {
				continue
			}
			if !slices.ContainsFunc(known, func(t string) bool { return glob(pattern, t) }) {
				remark("%q is none of the GuardDuty types that this version knows%s", pattern, near(pattern, known))
			}
		}
		odd := func(patterns []string, known []string, what string) {
			for _, p := range patterns {
				if !slices.ContainsFunc(known, func(k string) bool { return glob(p, k) }) {
					remark("%q is none of the %s that this version knows%s", p, what, near(p, known))
				}
			}
		}
		odd(r.When.Product, finding.Products(), "products")
		odd(r.When.ResourceType, finding.Abouts(), "kinds of resource")
		for _, a := range r.When.Account {
			if strings.Trim(a, "0123456789*") != "" || !strings.Contains(a, "*") && len(a) != 12 {
				remark("%q is no account: an account has 12 digits", a)
			}
		}
		for _, p := range slices.Concat(r.When.Type, r.When.Product, r.When.Account, r.When.Unit, r.When.Region, r.When.ResourceType) {
			if strings.ContainsAny(p, "?[{") {
				remark("in %q only * stands for something else than itself", p)
			}
		}
		if len(r.When.Type) > 0 && len(r.When.Product) == 0 && len(r.Contain) > 0 {
			remark("it acts and names no product: a finding of another one with such a type would be acted on too")
		}
		for _, earlier := range b.rules {
			if earlier.line >= r.line {
				break
			}
			if hides(earlier.When, r.When) {
				remark("rule %s in line %d decides before it, whatever this one is for", earlier.Name, earlier.line)
				break
			}
		}
		if len(r.When.Tags) > 0 && len(r.Contain) == 0 {
			remark("whoever may tag a resource can bring its findings here, where nothing is contained")
		}
	}
	return remarks, nil
}

// near suggests the known type that was probably meant.
func near(pattern string, known []string) string {
	if strings.Contains(pattern, "*") {
		return ""
	}
	if s := meant(pattern, known); strings.HasSuffix(s, "is probably meant") {
		return s
	}
	return ""
}

// hides tells whether every finding that the later rule is for is decided by the earlier one: each condition that it states is one
// that the later states word by word.
func hides(earlier, later when) bool {
	has := map[string]string{}
	for _, c := range later.conditions() {
		has[c.key+" "+c.wants] = c.wants
	}
	for _, c := range earlier.conditions() {
		if c.key == "type" && slices.ContainsFunc(later.Type, func(t string) bool { return !globs(earlier.Type, strings.ReplaceAll(t, "*", "x")) }) || c.key == "type" && len(later.Type) == 0 {
			return false
		}
		if _, same := has[c.key+" "+c.wants]; !same && c.key != "type" {
			return false
		}
	}
	return true
}
