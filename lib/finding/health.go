package finding

import (
	"strings"

	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// isHealth claims AWS Health's events; which of them are about security, decodeHealth says.
func isHealth(e event) bool {
	return e.source == "aws.health" && strings.HasPrefix(e.detailType, "AWS Health")
}

// isHealthRecord claims an event without its envelope.
func isHealthRecord(t tree) bool {
	return t.at("eventTypeCode") != nil && (t.at("eventArn") != nil || strings.Contains(t.text("arn"), ":health:"))
}

// decodeHealth reads exposed credentials and reports of abuse, one finding for each affected entity (AWS Health User Guide,
// "AWS Health events Amazon EventBridge schema"). Health grades nothing: exposed credentials are CRITICAL, the rest HIGH.
func decodeHealth(e event) []reading {
	d := e.detail
	code := d.text("eventTypeCode")
	abuse, ours := threatening(d.text("service"), code)
	if abuse = abuse || strings.Contains(e.detailType, "Abuse"); !abuse && !ours {
		return e.refused(false, notThreatening, words(code, 120))
	}
	entities := d.items("affectedEntities")
	if len(entities) <= 1 {
		var entity tree
		if len(entities) == 1 {
			entity = entities[0]
		}
		return e.done(e.health(entity, abuse), "an AWS Health event", map[string]any(e.whole))
	}
	var out []reading
	for _, entity := range entities {
		one := e
		one.detail = d.with([]any{map[string]any(entity)}, "affectedEntities")
		if one.whole = one.detail; e.enveloped {
			one.whole = tree{"detail-type": e.detailType, "source": e.source, "account": e.account, "region": e.region, "detail": map[string]any(one.detail), "id": e.id}
		}
		out = append(out, one.done(one.health(entity, abuse), "an AWS Health event", map[string]any(one.whole))...)
	}
	return out
}

const notThreatening = "not a security event of AWS Health: %s"

// threatening tells whether an event is a report of abuse, and whether it is about security otherwise: what Security Hub takes AWS
// Health's events for HIGH or CRITICAL by (Security Hub User Guide, "AWS Health (Sends findings)", "Interpreting severity label").
func threatening(service, code string) (abuse, ours bool) {
	service = strings.ToUpper(service)
	return service == "ABUSE" || strings.Contains(code, "_ABUSE_"),
		service == "RISK" || strings.HasPrefix(code, "AWS_RISK_") || strings.Contains(code, "_SECURITY_") ||
			strings.Contains(code, "_DDOS_ATTACK") || code == "AWS_S3_OPEN_ACCESS_BUCKET_NOTIFICATION"
}

func (e event) health(entity tree, abuse bool) Finding {
	d := e.detail
	value, event := entity.text("entityValue"), d.any("eventArn", "arn") // the API's name is the shorter
	f := Finding{
		Product: Health, Assumed: true, Source: words(event, 256), Type: words(d.text("eventTypeCode"), 128), Band: incident.High,
		FirstSeen: d.time("startTime"), LastSeen: first(d.time("lastUpdatedTime"), d.time("startTime")), Updated: d.time("lastUpdatedTime"),
	}
	for _, text := range d.items("eventDescription") {
		f.Title = words(text.text("latestDescription"), 256)
		break
	}
	f.Title = firstText(f.Title, f.Type)
	// The envelope's account is the administrator's in an organizational view, its region the one that the copy was sent to.
	_, at := home(event)
	region := firstText(d.any("eventRegion", "region"), at, e.region)
	if region == "global" {
		region = "us-east-1"
	}
	f.place(firstText(d.digits("affectedAccount"), e.account), region, event)
	if event != "" {
		f.NativeID = event + "|" + value
	}
	// An entity may be in another region than the event, which is global for abuse reports.
	res := f.entity(value)
	res.Tags = tagsOf(entity.at("tags"))
	if strings.HasSuffix(f.Type, "CREDENTIALS_EXPOSED") {
		f.Band = incident.Critical
	}
	f.affects(res, abuse)
	if f.word(d, []string{"OPEN", "UPCOMING", "CLOSED"}, "statusCode") == "CLOSED" || strings.EqualFold(entity.text("status"), "RESOLVED") {
		f.Settled = "the event is closed"
	}
	return f
}

// affects makes the finding one about an entity that Health names.
func (f *Finding) affects(res Resource, abuse bool) {
	if res.Type == AccessKey {
		f.Principal = Principal{Kind: WhoOther, KeyID: res.ID, Doubt: "AWS Health names a key and not whose it is"}
	}
	if abuse && res.ARN != "" {
		res.Part = Actor
	}
	if res.ID != "" {
		f.add(res)
		f.About = string(res.Type)
	}
}

// hubHealth gives an event of AWS Health that came through Security Hub the type, the id and the entity that Health's own has
// (Security Hub User Guide, "AWS Health (Sends findings)": the type code is the GeneratorId; the Id is the event's ARN with the account
// in it and a hash behind it). It tells whether the event is about security.
func (f *Finding) hubHealth(t tree) bool {
	code := t.text("GeneratorId")
	a, err := arn.Parse(t.text("Id"))
	part := strings.Split(a.Resource, "/")
	if err != nil || len(part) != 5 || part[0] != "event" {
		return true
	}
	abuse, ours := threatening(part[1], code)
	f.Type, f.Resources, f.About = words(code, 128), nil, ""
	a.AccountID, a.Resource = "", strings.Join(part[:4], "/")
	f.Source = words(a.String(), 256)
	list := t.items("Resources")
	for _, r := range list {
		res := f.entity(r.text("Id"))
		res.Tags = tagsOf(r.at("Tags"))
		f.affects(res, abuse)
	}
	if len(list) == 1 {
		f.NativeID = a.String() + "|" + list[0].text("Id")
	}
	return abuse || ours
}

// entity tells what an affected entity is: an access key, an ARN, an instance id, an account.
func (f *Finding) entity(value string) Resource {
	switch k := kindOfARN(value); {
	case k != "":
		return f.named(k, value)
	case longTermKey.MatchString(value) || sessionKey.MatchString(value):
		return Resource{Type: AccessKey, ID: value, Account: f.Account}
	case instanceID.MatchString(value):
		return f.named(Instance, value)
	case accountID.MatchString(value):
		return Resource{Type: Account, ID: value, Account: f.Account}
	}
	return Resource{Type: "Other", ID: words(value, 256), Account: f.Account}
}
