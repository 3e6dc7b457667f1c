package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	hubStack         = "firebreak"
	externalIDSecret = "firebreak/external-id"
)

const hubAbout = `Deploys the hub: uploads functions, machine and templates that have changed, deploys them as the stack firebreak by a change
set, writes the settings of a new installation (mode plan), and sends a sample finding through. Build first: scripts/build.

What is not given stays as it is in the installed stack.`

// hubOptions are what a call of hub says.
type hubOptions struct {
	members, regions, organization, forensic, standby string

	drill bool
	// given are the stack's parameters that it names.
	given map[string]string
}

// hubOptions reads and checks them. Nothing is asked of AWS.
func (s *session) hubOptions(args []string) (hubOptions, error) {
	o := hubOptions{given: map[string]string{}}
	flags := s.options("hub", hubAbout)
	flags.StringVar(&o.members, "members", "", "`accounts` that are watched and acted in, as ID or ID=name, separated by commas")
	flags.StringVar(&o.regions, "regions", "", "`regions` that are acted in, separated by commas (default: this one)")
	flags.StringVar(&o.organization, "organization", "", "`id` of the organization whose accounts may send findings (o-…)")
	approvers := flags.String("approvers", "", "`file` with the people who may decide: a JSON list of id, name, email, severities, accounts, principals")
	arch := flags.String("arch", "", "`architecture` that was built: arm64 (the default of a new installation) or x86_64")
	flags.StringVar(&o.forensic, "forensic-account", "", "`id` of the account that evidence is copied to before anything is terminated")
	trusted := flags.String("trusted", "", "`whom` resources may be shared with besides these accounts: account ids, an organization (o-…), canonical user ids, separated by commas; none for nobody")
	flags.StringVar(&o.standby, "standby-of", "", "make this a stand-by: the `region` of the hub that responds")
	flags.BoolVar(&o.drill, "drill", true, "verify afterwards that a sample finding comes through and is recorded, for up to ten minutes")
	var set assignments
	flags.Var(&set, "set", "another parameter of cloudformation/root.yaml as `Name=value`; may be given again")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	if err := memberList("--members", o.members); err != nil {
		return o, err
	}
	if o.forensic != "" && !accountID.MatchString(o.forensic) {
		return o, fmt.Errorf("--forensic-account: %q is not an account id of 12 digits", o.forensic)
	}
	if o.standby != "" && !regionName.MatchString(o.standby) {
		return o, fmt.Errorf("--standby-of: %q is not a region", o.standby)
	}
	if o.regions != "" && o.members == "" {
		return o, errors.New("--regions needs --members: it says where to act in them")
	}
	if err := errors.Join(regionList(o.regions), architectureName(*arch)); err != nil {
		return o, err
	}
	if o.organization != "" && !organizationID.MatchString(o.organization) {
		return o, fmt.Errorf("--organization: %q is not an id of an organization (o-…)", o.organization)
	}
	maps.Copy(o.given, set)
	for name, value := range map[string]string{"Architecture": *arch, "OrganizationId": o.organization, "ForensicAccount": o.forensic} {
		if value != "" {
			o.given[name] = value
		}
	}
	if *approvers != "" {
		list, err := approverList(*approvers)
		if err != nil {
			return o, err
		}
		o.given["Approvers"] = list
	}
	if *trusted != "" {
		list, err := trustedList(*trusted)
		if err != nil {
			return o, err
		}
		maps.Copy(o.given, list)
	}
	return o, nil
}

// parameters gives the stack's parameters: those that the options name, and what follows from them for a hub in that region.
func (o hubOptions) parameters(region string, installed *installation) (map[string]string, error) {
	given := maps.Clone(o.given)
	if o.members != "" {
		given["Members"], given["Accounts"] = memberParameters(o.members, o.regions, region)
	}
	// Copies that are complete are told by the forensic account itself.
	if was, now := installed.parameter("Members"), or(given["Members"], installed.parameter("Members")); now != "" {
		if id := or(o.forensic, installed.parameter("ForensicAccount")); id != "" && !slices.Contains(strings.Split(now, ","), id) {
			now += "," + id
		}
		if now != was {
			given["Members"] = now
		}
	}
	if o.standby != "" {
		if o.standby == region {
			return nil, errors.New("--standby-of names this very region: a stand-by is in another one")
		}
		given["StandbyRegion"] = o.standby
		if installed == nil {
			given["Active"] = "no"
		}
	}
	return given, nil
}

// hub deploys the security account.
func (s *session) hub(ctx context.Context, args []string) error {
	o, err := s.hubOptions(args)
	if err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	stack := &stack{session: s, api: cloudformation.NewFromConfig(s.cfg), name: hubStack}
	installed, err := stack.find(ctx)
	if err != nil {
		return err
	}
	given, err := o.parameters(s.cfg.Region, installed)
	if err != nil {
		return err
	}
	found := s.observer().checks(ctx, s, o.organization, hubRoles)
	if installed == nil {
		found = append(found, earlier(ctx, s.cfg.Region, dynamodb.NewFromConfig(s.cfg)), stack.belongs(ctx))
	}
	if err := s.survey(found); err != nil {
		return err
	}
	if given["ExternalId"], err = s.sharedID(ctx, o.standby); err != nil {
		return err
	}
	store := &artifacts{session: s, api: s.s3()}
	if err := store.open(ctx); err != nil {
		return err
	}
	pack := packer{root: s.root, arch: architecture(given, installed), artifacts: store}
	url, err := pack.template(ctx, "cloudformation/root.yaml")
	if err != nil {
		return err
	}
	s.say("%d files packaged, %d of them new", store.seen, store.sent)
	if err := stack.deploy(ctx, source{url: url}, given, installed); err != nil {
		return err
	}
	responds := or(given["Active"], or(installed.parameter("Active"), "yes")) == "yes"
	if s.plan {
		s.outlook(installed == nil, o.drill && responds)
		return nil
	}
	outputs, err := stack.outputs(ctx)
	if err != nil {
		return err
	}
	if err := s.firstSettings(ctx, ledger.NewDynamo(dynamodb.NewFromConfig(s.cfg), outputs["TableName"])); err != nil {
		return err
	}
	if o.drill && responds {
		err = s.verify(ctx, outputs["MachineArn"], 10*time.Minute)
	}
	if installed == nil && err == nil {
		s.next(outputs["TopicArn"])
	}
	return errors.Join(err, s.report(outputs))
}

// next says what is to be done after a first installation.
func (s *session) next(topic string) {
	s.say("done. Next, with each member account's credentials, in each region that it uses:")
	fmt.Fprintf(s.log, "          FIREBREAK_EXTERNAL_ID=… scripts/deploy member --hub-account %s --hub-region %s --home-region %s\n"+
		"          where scripts/deploy external-id, with the hub's credentials, prints the external id (an organization: scripts/deploy stack-sets);\n"+
		"          scripts/firebreak approvers add …, and subscribe the team to %s;\n"+
		"          scripts/firebreak incidents shows what Firebreak would have done; scripts/firebreak mode act, once that looks right\n", s.account, s.cfg.Region, s.cfg.Region, topic)
}

// outlook says what a deployment does besides its change set.
func (s *session) outlook(first, drill bool) {
	fmt.Fprintln(s.out, "\nBesides")
	if first {
		fmt.Fprintf(s.out, "  make the secret %s, which the accounts' roles will ask for, where there is none\n  write the first settings: mode plan, nothing is changed by Firebreak until scripts/firebreak mode act\n", externalIDSecret)
	}
	if drill {
		fmt.Fprintf(s.out, "  send a sample finding (%s) through, and wait up to ten minutes until it is recorded; nothing acts on samples\n", sampleType)
	}
	if !first && !drill {
		fmt.Fprintln(s.out, "  nothing")
	}
}

// tableAPI is the call that looks for a ledger.
type tableAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
}

// earlier looks whether an uninstalled installation has left its ledger: CloudFormation makes nothing that is there already, and
// would fail in the middle.
func earlier(ctx context.Context, region string, api tableAPI) finding {
	const about, table = "ledger", "firebreak-ledger"
	_, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(table)})
	var none *dynamotypes.ResourceNotFoundException
	switch {
	case errors.As(err, &none):
		return finding{about, good, "none of an earlier installation in " + region}
	case err != nil:
		return unknown(about, err)
	}
	return finding{about, block, "the table " + table + " of an earlier installation is in " + region + ", in the stack firebreak-Storage-… that it left: keep it and install elsewhere, or export what you must keep and delete that stack's resources first"}
}

// belongs looks whether this account is another hub's member: then these are most likely not the credentials that were meant.
func (s *stack) belongs(ctx context.Context) finding {
	const about = "account"
	now, err := (&stack{session: s.session, api: s.api, name: memberStack}).describe(ctx)
	if err != nil {
		return unknown(about, err)
	}
	if now != nil {
		for _, p := range now.Parameters {
			if hub := aws.ToString(p.ParameterValue); aws.ToString(p.ParameterKey) == "HubAccount" && hub != s.account {
				return finding{about, block, fmt.Sprintf("this one (%s) is watched by the hub in account %s: are these the credentials that you meant?", s.account, hub)}
			}
		}
	}
	return finding{about, good, "watched by no other hub"}
}

// architecture is what was asked for, else what is installed, else the template's default.
func architecture(given map[string]string, installed *installation) string {
	if a := given["Architecture"]; a != "" {
		return a
	}
	if installed != nil && installed.parameters["Architecture"] != "" {
		return installed.parameters["Architecture"]
	}
	return "arm64"
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// memberList says what is wrong with a list of accounts.
func memberList(flag, list string) error {
	if list == "" {
		return nil
	}
	seen := map[string]bool{}
	for _, m := range strings.Split(list, ",") {
		id, _, _ := strings.Cut(strings.TrimSpace(m), "=")
		if !accountID.MatchString(id) {
			return fmt.Errorf("%s: %q is not an account id of 12 digits", flag, id)
		}
		if seen[id] {
			return fmt.Errorf("%s: %s stands there twice", flag, id)
		}
		seen[id] = true
	}
	return nil
}

// regionList says what is wrong with a list of regions: a region that is misspelt would be acted in nowhere, and nobody told.
func regionList(list string) error {
	if list == "" {
		return nil
	}
	for _, r := range strings.Split(list, ",") {
		if !regionName.MatchString(strings.TrimSpace(r)) {
			return fmt.Errorf("--regions: %q is not a region", strings.TrimSpace(r))
		}
	}
	return nil
}

// architectureName says what is wrong with --arch.
func architectureName(arch string) error {
	if slices.Contains([]string{"", "arm64", "x86_64"}, arch) {
		return nil
	}
	return fmt.Errorf("--arch: %q is neither arm64 nor x86_64", arch)
}

// memberParameters gives the template's Members and Accounts for a list of accounts.
func memberParameters(list, regions, home string) (ids, accounts string) {
	where := []string{home}
	if regions != "" {
		where = strings.Split(regions, ",")
		for i := range where {
			where[i] = strings.TrimSpace(where[i])
		}
	}
	var all []string
	var settings []setting.Account
	for _, m := range strings.Split(list, ",") {
		id, name, _ := strings.Cut(strings.TrimSpace(m), "=")
		if name == "" {
			name = id
		}
		all = append(all, id)
		settings = append(settings, setting.Account{ID: id, Name: name, Regions: where})
	}
	text, _ := json.Marshal(settings) // strings only: cannot fail
	return strings.Join(all, ","), string(text)
}

var (
	organizationID = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	canonicalUser  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// trustedList gives the template's parameters for those that are trusted, told apart by how they look.
func trustedList(list string) (map[string]string, error) {
	t := setting.Trusted{Accounts: []string{}, CanonicalUsers: []string{}}
	for _, who := range strings.Split(list, ",") {
		switch who = strings.TrimSpace(who); {
		case list == "none":
		case accountID.MatchString(who):
			t.Accounts = append(t.Accounts, who)
		case organizationID.MatchString(who) && t.Organization == "":
			t.Organization = who
		case canonicalUser.MatchString(who):
			t.CanonicalUsers = append(t.CanonicalUsers, who)
		default:
			return nil, fmt.Errorf("--trusted: %q is neither an account id of 12 digits, nor the one organization (o-…), nor a canonical user id of 64 hexadecimal digits", who)
		}
	}
	accounts, _ := json.Marshal(t.Accounts) // strings only: cannot fail
	users, _ := json.Marshal(t.CanonicalUsers)
	return map[string]string{"TrustedAccounts": string(accounts), "TrustedOrganization": t.Organization, "TrustedCanonicalUsers": string(users)}, nil
}

// approverList reads a file of approvers, strictly.
func approverList(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--approvers: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	var list []setting.Approver
	if err := dec.Decode(&list); err != nil {
		return "", fmt.Errorf("--approvers: %s is not a list of approvers: %w", file, err)
	}
	ids := map[string]bool{}
	for _, a := range list {
		if a.ID == "" || ids[a.ID] {
			return "", fmt.Errorf("--approvers: %s: each approver needs an id of their own, %q is none", file, a.ID)
		}
		ids[a.ID] = true
	}
	out, err := json.Marshal(list)
	return string(out), err
}

// externalID reads the installation's external id, and makes it if there is none and make is true.
func (s *session) externalID(ctx context.Context, make bool) (string, error) {
	api := secretsmanager.NewFromConfig(s.cfg)
	out, err := api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(externalIDSecret)})
	if err == nil {
		return aws.ToString(out.SecretString), nil
	}
	var none *types.ResourceNotFoundException
	if !errors.As(err, &none) {
		return "", fmt.Errorf("read the external id from the secret %s: %w", externalIDSecret, err)
	}
	if !make {
		return "", fmt.Errorf("%w %s in account %s, region %s: deploy the hub first, or use the hub's credentials", errNoID, externalIDSecret, s.account, s.cfg.Region)
	}
	id := rand.Text() + rand.Text()
	return id, s.keepID(ctx, id)
}

var errNoID = errors.New("there is no secret")

// keepID makes the secret of the external id.
func (s *session) keepID(ctx context.Context, id string) error {
	_, err := secretsmanager.NewFromConfig(s.cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(externalIDSecret), SecretString: &id,
		Description: aws.String("Shared with the remediation roles of the member accounts; member stacks take it as a parameter"),
	})
	if err != nil {
		return fmt.Errorf("keep the external id in the secret %s: %w", externalIDSecret, err)
	}
	s.say("kept the installation's external id (secret %s)", externalIDSecret)
	return nil
}

// sharedID is the external id, that of the other region for a stand-by: the members' roles know only one. A plan makes none.
func (s *session) sharedID(ctx context.Context, other string) (string, error) {
	if other != "" {
		there := *s
		there.cfg = s.cfg.Copy()
		there.cfg.Region = other
		id, err := there.externalID(ctx, false)
		if err != nil {
			return "", err
		}
		return id, s.adopt(ctx, id)
	}
	id, err := s.externalID(ctx, !s.plan)
	if s.plan && errors.Is(err, errNoID) {
		return rand.Text() + rand.Text(), nil // for a change set that is thrown away
	}
	return id, err
}

// adopt keeps the other region's external id in this one.
func (s *session) adopt(ctx context.Context, id string) error {
	if have, err := s.externalID(ctx, false); !errors.Is(err, errNoID) {
		if err == nil && have != id {
			err = fmt.Errorf("the secret %s here is not the one of the other region: this is another installation", externalIDSecret)
		}
		return err
	}
	if s.plan {
		return nil
	}
	return s.keepID(ctx, id)
}

func (s *session) showExternalID(ctx context.Context, args []string) error {
	flags := s.options("external-id", "Prints the installation's external id, with the hub's credentials.")
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	id, err := s.externalID(ctx, false)
	if err == nil {
		_, err = fmt.Fprintln(s.out, id)
	}
	return err
}

// firstSettings writes the guard's settings of a new installation. What people have set stays.
func (s *session) firstSettings(ctx context.Context, store ledger.Store) error {
	it, err := ledger.Load[setting.Guard](ctx, store, setting.GuardKey)
	if err != nil {
		return err
	}
	if it.Exists() {
		s.say("settings stay: mode %s, set by %s", it.Value.Mode, it.Value.By)
		return nil
	}
	it.Value = setting.Defaults()
	it.Value.By, it.Value.At = s.caller, time.Now().UTC()
	if err := ledger.Save(ctx, store, &it); err != nil && !errors.Is(err, ledger.ErrConflict) {
		return err
	}
	s.say("first settings written: mode %s", it.Value.Mode)
	return nil
}

// assignments are Name=value flags.
type assignments map[string]string

func (a *assignments) String() string { return "" }

func (a *assignments) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not Name=value", text)
	}
	if name == "ExternalId" {
		return errors.New("the external id is made and kept by this program")
	}
	if *a == nil {
		*a = assignments{}
	}
	(*a)[name] = value
	return nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
