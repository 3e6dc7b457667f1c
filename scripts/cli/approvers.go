package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

const approversHelp = `Who may decide, and how each of them is reached.

  list                 everybody, with how they prove who they are, and whether their e-mail is confirmed
  add ID               put a person on the list, or change the entry: what is not given stays
      --name NAME --email ADDRESS
      --subject SUB    what the issuer of the sign-in calls them (the claim sub); may be given again
      --slack ID       their member id in the Slack workspace
      --principal ARN  their own AWS identity: an IAM user, or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION; may be given
                       again. Use a session only where nobody else can choose its name (IAM Identity Center sees to that).
      --severity BAND --account ID   asked only about these; may be given again
  confirm URL          confirm the e-mail subscription by the link in SNS's own mail. Give the link here and do not click it:
                       confirmed here, only somebody signed in to AWS can end the subscription again; a link that a mail
                       scanner follows cannot.
  rotate               sign links with a new key from now on; links that are out stay good until they expire
      --leaked         the key has become known: every link and sign-in is void, within five minutes everywhere. Who has to
                       decide gets a new link with the reminder; Slack and the command line go on
  remove ID            take a person off the list: their links, their sessions and their approvals count no more

Whoever changes the list while something waits to be destroyed does not decide about that: nobody makes a second person up.
`

// The setting and the topic that the templates make.
const (
	approversSetting = "/firebreak/approvers"
	topic            = "firebreak-approvers"
	settingLimit     = 4096 // of a standard SSM parameter, in bytes
)

// settingAPI and topicAPI are the calls of this verb.
type settingAPI interface {
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
}

type topicAPI interface {
	Subscribe(context.Context, *sns.SubscribeInput, ...func(*sns.Options)) (*sns.SubscribeOutput, error)
	Unsubscribe(context.Context, *sns.UnsubscribeInput, ...func(*sns.Options)) (*sns.UnsubscribeOutput, error)
	ConfirmSubscription(context.Context, *sns.ConfirmSubscriptionInput, ...func(*sns.Options)) (*sns.ConfirmSubscriptionOutput, error)
	ListSubscriptionsByTopic(context.Context, *sns.ListSubscriptionsByTopicInput, ...func(*sns.Options)) (*sns.ListSubscriptionsByTopicOutput, error)
}

func approvers(ctx context.Context, a *app, c *call) error {
	if len(c.args) == 0 {
		return wrong("say what: list, add ID, confirm URL, remove ID, rotate")
	}
	do := map[string]func(context.Context, *app, *call, *cloud) error{"list": listApprovers, "add": addApprover, "confirm": confirmApprover, "remove": removeApprover, "rotate": rotateKey}[c.args[0]]
	if do == nil {
		return wrong("there is no approvers %q: list, add ID, confirm URL, remove ID, rotate", c.args[0])
	}
	c.args = c.args[1:]
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	return do(ctx, a, c, k)
}

// reach is one approver with the state of their e-mail.
type reach struct {
	setting.Approver
	// Mail is confirmed, pending, or none.
	Mail string `json:"mail"`
}

func listApprovers(ctx context.Context, a *app, c *call, k *cloud) error {
	if err := c.none(); err != nil {
		return err
	}
	installed, err := k.inst.Read(ctx)
	if err != nil {
		return err
	}
	mails, err := k.subscriptions(ctx)
	if err != nil {
		return err
	}
	out := []reach{}
	for _, p := range installed.Approvers {
		r := reach{p, "none"}
		switch arn := mails[strings.ToLower(p.Email)]; {
		case p.Email == "" || arn == "":
		case strings.HasPrefix(arn, "arn:"):
			r.Mail = "confirmed"
		default:
			r.Mail = "pending"
		}
		out = append(out, r)
	}
	if c.json {
		return dump(a.out, out)
	}
	for _, p := range out {
		fmt.Fprintf(a.out, "%-16s %s\n", plain(p.ID, 40), plain(strings.TrimSpace(p.Name+"  "+p.Email), 200))
		var ways []string
		for _, w := range []struct {
			name string
			on   bool
		}{{"sign-in", len(p.Subjects) > 0}, {"Slack", p.Slack != ""}, {"command line", len(p.Principals) > 0}} {
			if w.on {
				ways = append(ways, w.name)
			}
		}
		if len(ways) == 0 {
			ways = []string{"nothing but the link"}
		}
		fmt.Fprintf(a.out, "  e-mail %s; proves who it is by %s\n", p.Mail, strings.Join(ways, ", "))
		if len(p.Severities)+len(p.Accounts) > 0 {
			fmt.Fprintf(a.out, "  asked about %v %v only\n", p.Severities, p.Accounts)
		}
	}
	if len(out) < 2 {
		fmt.Fprintln(a.out, "destroying anything takes two different people: add them with scripts/firebreak approvers add")
	}
	return nil
}

var approverID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func addApprover(ctx context.Context, a *app, c *call, k *cloud) error {
	id, err := c.one("ID")
	if err != nil {
		return err
	}
	if !approverID.MatchString(id) {
		return wrong("%q is no id for an approver: small letters, digits and -, 32 at most", id)
	}
	installed, err := k.inst.Read(ctx)
	if err != nil {
		return err
	}
	list := slices.Clone(installed.Approvers)
	i := slices.IndexFunc(list, func(p setting.Approver) bool { return p.ID == id })
	if i < 0 {
		list, i = append(list, setting.Approver{ID: id, Severities: []incident.Band{}, Accounts: []string{}, Principals: []string{}}), len(list)
	}
	was := list[i]
	if err := c.person.into(&list[i]); err != nil {
		return err
	}
	if err := k.saveApprovers(ctx, list); err != nil {
		return err
	}
	p := list[i]
	if p.Email != "" && p.Email != was.Email {
		if err := k.subscribe(ctx, p); err != nil {
			return fmt.Errorf("%s is on the list, but cannot be reached by e-mail: %w", id, err)
		}
	}
	if c.json {
		return dump(a.out, p)
	}
	fmt.Fprintf(a.out, "%s is on the list\n", id)
	if p.Email != "" && p.Email != was.Email {
		fmt.Fprintf(a.out, "SNS has sent a mail to %s. Its link is not to be clicked, but given to: scripts/firebreak approvers confirm 'URL'\n", plain(p.Email, 200))
	}
	return nil
}

// person is what the flags of add say.
type person struct {
	name, email, slack             string
	subjects, principals, accounts []string
	severities                     []string
}

// into puts what was given into the entry.
func (f person) into(p *setting.Approver) error {
	if f.name != "" {
		p.Name = f.name
	}
	if f.email != "" {
		m, err := mail.ParseAddress(f.email)
		if err != nil || m.Address != f.email {
			return wrong("%q is not an e-mail address", f.email)
		}
		p.Email = f.email
	}
	if f.slack != "" {
		if !regexp.MustCompile(`^[UW][A-Z0-9]{2,}$`).MatchString(f.slack) {
			return wrong("%q is not a member id of Slack: it begins with U or W (profile, copy member ID)", f.slack)
		}
		p.Slack = f.slack
	}
	if f.subjects != nil {
		p.Subjects = f.subjects
	}
	if f.principals != nil {
		for _, arn := range f.principals {
			if !regexp.MustCompile(`^arn:[a-z-]+:(iam::\d{12}:user/|sts::\d{12}:assumed-role/[^/]+/).+$`).MatchString(arn) {
				return wrong("%q is not one person's: arn:aws:iam::ACCOUNT:user/NAME or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION", arn)
			}
		}
		p.Principals = f.principals
	}
	if f.accounts != nil {
		p.Accounts = f.accounts
	}
	if f.severities != nil {
		p.Severities = nil
		for _, s := range f.severities {
			b := incident.Band(strings.ToUpper(s))
			if !slices.Contains(incident.Bands(), b) {
				return wrong("there is no severity %q: %v", s, incident.Bands())
			}
			p.Severities = append(p.Severities, b)
		}
	}
	return nil
}

func removeApprover(ctx context.Context, a *app, c *call, k *cloud) error {
	id, err := c.one("ID")
	if err != nil {
		return err
	}
	installed, err := k.inst.Read(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(installed.Approvers, func(p setting.Approver) bool { return p.ID == id })
	if i < 0 {
		fmt.Fprintf(a.out, "%s was not on the list\n", plain(id, 40))
		return nil
	}
	gone := installed.Approvers[i]
	if err := k.saveApprovers(ctx, slices.Delete(slices.Clone(installed.Approvers), i, i+1)); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s is off the list: what they were sent decides nothing any more, from a minute from now\n", id)
	mails, err := k.subscriptions(ctx)
	if err != nil {
		return fmt.Errorf("the e-mail subscription stays: %w", err)
	}
	switch arn := mails[strings.ToLower(gone.Email)]; {
	case gone.Email == "" || arn == "":
	case !strings.HasPrefix(arn, "arn:"):
		fmt.Fprintln(a.out, "the e-mail was never confirmed: SNS forgets it after two days")
	default:
		if _, err := k.topics.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &arn}); err != nil {
			return fmt.Errorf("the e-mail subscription %s stays: %w", arn, err)
		}
		fmt.Fprintf(a.out, "%s gets no more mail\n", plain(gone.Email, 200))
	}
	return nil
}

// linkKey is the secret that the templates make.
const linkKey = "firebreak/link-key"

type secretAPI interface {
	approval.SecretAPI
	PutSecretValue(context.Context, *secretsmanager.PutSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error)
}

func rotateKey(ctx context.Context, a *app, c *call, k *cloud) error {
	if err := c.none(); err != nil {
		return err
	}
	next, err := approval.Replace(a.now())
	if !c.leaked {
		var ring approval.Ring
		if ring, err = approval.NewKeys(k.secrets, linkKey, a.now).Read(ctx); err == nil {
			next, err = ring.Rotate(a.now())
		}
	}
	if err != nil {
		return err
	}
	if _, err := k.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String(linkKey), SecretString: &next}); err != nil {
		return fmt.Errorf("write the secret %s: %w", linkKey, err)
	}
	if c.leaked {
		fmt.Fprintln(a.out, "links are signed with a new key; all that are out, and all sign-ins, are void within five minutes")
		return nil
	}
	fmt.Fprintln(a.out, "links are signed with a new key, everywhere within five minutes; those that are out stay good until they expire")
	return nil
}

// saveApprovers writes the list. It is read again within a minute everywhere.
func (k *cloud) saveApprovers(ctx context.Context, list []setting.Approver) error {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if len(text) > settingLimit {
		return fmt.Errorf("the list would have %d bytes, and SSM keeps %d: fewer people, or shorter entries", len(text), settingLimit)
	}
	_, err = k.settings.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(approversSetting), Value: aws.String(string(text)), Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)})
	if err != nil {
		return fmt.Errorf("write the setting %s: %w", approversSetting, err)
	}
	return nil
}

// subscriptions gives the subscription of each e-mail address: its ARN, or SNS's word for one that is not confirmed.
func (k *cloud) subscriptions(ctx context.Context) (map[string]string, error) {
	mails := map[string]string{}
	for pages := sns.NewListSubscriptionsByTopicPaginator(k.topics, &sns.ListSubscriptionsByTopicInput{TopicArn: &k.topic}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list who is subscribed to %s: %w", k.topic, err)
		}
		for _, s := range page.Subscriptions {
			if aws.ToString(s.Protocol) == "email" {
				mails[strings.ToLower(aws.ToString(s.Endpoint))] = aws.ToString(s.SubscriptionArn)
			}
		}
	}
	return mails, nil
}

// subscribe has SNS ask the approver, whose subscription gets what is for them and nothing else.
func (k *cloud) subscribe(ctx context.Context, p setting.Approver) error {
	filter, err := json.Marshal(map[string][]string{"approver": {p.ID}})
	if err != nil {
		return err
	}
	_, err = k.topics.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &k.topic, Protocol: aws.String("email"), Endpoint: &p.Email, Attributes: map[string]string{"FilterPolicy": string(filter)}})
	var invalid *snstypes.InvalidParameterException
	if errors.As(err, &invalid) && strings.Contains(err.Error(), "already exists") {
		return fmt.Errorf("%s is subscribed to %s already, with another filter (SNS keeps one for an address): use another address, or end that subscription", plain(p.Email, 200), topic)
	}
	return err
}

// confirmApprover takes the link of SNS's own mail. Confirmed with AuthenticateOnUnsubscribe, the unsubscribe link that SNS puts
// under every message ends nothing for whoever is not signed in: mail scanners follow it. (AWS: SNS, ConfirmSubscription.)
func confirmApprover(ctx context.Context, a *app, c *call, k *cloud) error {
	typed, err := c.one("URL")
	if err != nil {
		return err
	}
	u, err := url.Parse(strings.TrimSpace(typed))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Query().Get("Token") == "" {
		return wrong("%q is not the link of a mail that SNS has sent: it has Token= and TopicArn= in it (put it in quotes)", plain(typed, 100))
	}
	if got := u.Query().Get("TopicArn"); got != k.topic {
		return fmt.Errorf("that link is for the topic %s, not for %s", plain(got, 200), k.topic)
	}
	out, err := k.topics.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{TopicArn: &k.topic, Token: aws.String(u.Query().Get("Token")), AuthenticateOnUnsubscribe: aws.String("true")})
	if err != nil {
		return fmt.Errorf("SNS does not take the link (it is good for two days): %w", err)
	}
	if c.json {
		return dump(a.out, map[string]string{"subscription": aws.ToString(out.SubscriptionArn)})
	}
	fmt.Fprintln(a.out, "confirmed; only somebody signed in to AWS can end it again")
	return nil
}
