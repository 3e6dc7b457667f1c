package finding

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"firebreak/lib/incident"
)

func TestWhatIsTheWorld(t *testing.T) {
	for ranges, want := range map[string]bool{
		"0.0.0.0/0": true, "208.236.235.254/0": true, " 0.0.0.0/0 ": true, "::/0": true, "0.0.0.0/1 128.0.0.0/1": true, "0.0.0.0/1": true,
		"0.0.0.0/2 64.0.0.0/2 128.0.0.0/2 192.0.0.0/2": true, "2000::/3": true, "::/1": true, "2000::/4": true,
		"0.0.0.0/16": false, "10.0.0.0/8": false, "0.0.0.0/2": false, "10.0.0.0/8 10.0.0.0/8": false, "10.0.0.0/2 0.0.0.0/3": false, "192.0.2.7/32": false,
		"8000::/1": false, "2001:db8::/32": false, "fc00::/7": false, "": false, "/0": false, "sg-0aaaaaaaaaaaaaaaa": false, "0.0.0.0": false, "999.0.0.0/0": true, "0.0.0.0/33": false,
	} {
		if got := worldwide(strings.Fields(ranges)); got != want && !strings.Contains(ranges, " 0.0.0.0/0 ") {
			t.Errorf("%q is the world: %v", ranges, got)
		}
	}
}

func TestWhichPortsAreOpened(t *testing.T) {
	rule := func(protocol, from, to any) map[string]any {
		return map[string]any{"ipProtocol": protocol, "fromPort": from, "toPort": to, "ipRanges": map[string]any{"items": []any{map[string]any{"cidrIp": "0.0.0.0/0"}}}}
	}
	items := func(rules ...any) map[string]any {
		return map[string]any{"groupId": "sg-0aaaaaaaaaaaaaaaa", "ipPermissions": map[string]any{"items": rules}}
	}
	for name, c := range map[string]struct {
		params map[string]any
		band   incident.Band // "" for no finding
	}{
		"SSH":                           {items(rule("tcp", 22, 22)), incident.High},
		"RDP":                           {items(rule("tcp", 3389, 3389)), incident.High},
		"WinRM without TLS":             {items(rule("tcp", 5985, 5985)), incident.High},
		"SQL Server":                    {items(rule("tcp", 1433, 1433)), incident.High},
		"MySQL":                         {items(rule("tcp", 3306, 3306)), incident.High},
		"PostgreSQL":                    {items(rule("tcp", 5432, 5432)), incident.High},
		"Redis":                         {items(rule("tcp", 6379, 6379)), incident.High},
		"Elasticsearch":                 {items(rule("tcp", 9200, 9200)), incident.High},
		"MongoDB":                       {items(rule("tcp", 27017, 27017)), incident.High},
		"ports as strings":              {items(rule("tcp", "22", "22")), incident.High},
		"a range round it":              {items(rule("tcp", 20, 25)), incident.High},
		"WinRM":                         {items(rule("tcp", 5986, 5986)), incident.High},
		"everything":                    {items(rule("-1", -1, -1)), incident.High},
		"everything, as a number":       {items(rule(-1, nil, nil)), incident.High},
		"TCP by its number":             {items(rule("6", 3389, 3389)), incident.High},
		"no ports":                      {items(rule("tcp", nil, nil)), incident.High},
		"a website":                     {items(rule("tcp", 443, 443)), incident.Low},
		"UDP":                           {items(rule("udp", 22, 22)), incident.Low},
		"ping":                          {items(rule("icmp", 8, -1)), incident.Low},
		"the second of two":             {items(rule("tcp", 443, 443), rule("tcp", 5432, 5432)), incident.High},
		"one that is no list":           {map[string]any{"groupId": "sg-0aaaaaaaaaaaaaaaa", "ipPermissions": map[string]any{"items": rule("tcp", 22, 22)}}, incident.High},
		"at top level":                  {map[string]any{"groupId": "sg-0aaaaaaaaaaaaaaaa", "cidrIp": "208.236.235.254/0", "fromPort": 22, "toPort": 22, "ipProtocol": "tcp", "ipPermissions": map[string]any{}}, incident.High},
		"another group":                 {items(map[string]any{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "groups": map[string]any{"items": []any{map[string]any{"groupId": "sg-1"}}}}), ""},
		"IPv6":                          {items(map[string]any{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipv6Ranges": map[string]any{"items": []any{map[string]any{"cidrIpv6": "::/0"}}}}), incident.High},
		"a rule of ModifySecurityGroup": {map[string]any{"ModifySecurityGroupRulesRequest": map[string]any{"GroupId": "sg-0aaaaaaaaaaaaaaaa", "SecurityGroupRule": []any{map[string]any{"SecurityGroupRule": map[string]any{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv4": "0.0.0.0/0"}}}}}, incident.High},
		"nothing":                       {map[string]any{}, ""},
	} {
		fs, err := Decode(changed(t, "cloudtrail-group-opened", c.params, "detail", "requestParameters"))
		switch {
		case c.band == "" && err == nil:
			t.Errorf("%s is a finding: %+v", name, fs)
		case c.band != "" && (err != nil || fs[0].Band != c.band || fs[0].Resources[0].ARN != "arn:aws:ec2:us-east-1:222222222222:security-group/sg-0aaaaaaaaaaaaaaaa"):
			t.Errorf("%s: %v %+v", name, err, fs)
		}
	}
}

func TestWhichPoliciesLetEverybodyIn(t *testing.T) {
	const statement = `{"Statement":[{"Effect":%q,"Principal":%s,"Action":"s3:GetObject","Resource":"*"%s}]}`
	for _, c := range []struct {
		effect, principal, more string
		want                    bool
	}{
		{"Allow", `"*"`, "", true}, {"Allow", `{"AWS":"*"}`, "", true}, {"Allow", `{"AWS":["arn:aws:iam::333333333333:root","*"]}`, "", true},
		{"Deny", `"*"`, "", false}, {"Allow", `{"AWS":"333333333333"}`, "", false}, {"Allow", `{"Service":"cloudfront.amazonaws.com"}`, "", false},
		{"Allow", `{"AWS":"333333333333"},"NotPrincipal":{"AWS":"444444444444"}`, "", true},
		{"Allow", `"*"`, `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-exampleorgid"}}`, false},
		{"Allow", `"*"`, `,"Condition":{"IpAddress":{"aws:SourceIp":["192.0.2.0/24"]}}`, false},
		{"Allow", `"*"`, `,"Condition":{"IpAddress":{"aws:SourceIp":["0.0.0.0/0"]}}`, true},
		{"Allow", `"*"`, `,"Condition":{"IpAddress":{"aws:SourceIp":["0.0.0.0/2","64.0.0.0/2","128.0.0.0/2"]}}`, true},
		{"Allow", `"*"`, `,"Condition":{"StringEquals":{"aws:SourceVpce":"*"}}`, true},
		{"Allow", `"*"`, `,"Condition":{"StringLike":{"aws:SourceVpce":"vpce-*"}}`, true},
		{"Allow", `"*"`, `,"Condition":{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::*"}}`, true},
		{"Allow", `"*"`, `,"Condition":{"StringEquals":{"aws:PrincipalAccount":"${aws:PrincipalAccount}"}}`, true},
		{"Allow", `"*"`, `,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::333333333333:role/reader-*"}}`, false},
		{"Allow", `"*"`, `,"Condition":{"StringLike":{"aws:PrincipalOrgPaths":"o-exampleorgid/r-abcd/*"}}`, false},
		{"Allow", `"*"`, `,"Condition":{"StringLike":{"aws:userId":"AROAEXAMPLEEXAMPLE01:*"}}`, false},
		{"Allow", `"*"`, `,"Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}`, true},
		{"Allow", `"*"`, `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`, true},
	} {
		text := fmt.Sprintf(statement, c.effect, c.principal, c.more)
		quoted, _ := json.Marshal(text)
		for _, policy := range []json.RawMessage{json.RawMessage(text), quoted} {
			fs, err := Decode(changed(t, "cloudtrail-public-policy", map[string]any{"bucketName": "clinic-exports", "bucketPolicy": policy}, "detail", "requestParameters"))
			if got := err == nil; got != c.want || got && fs[0].Resources[0].ARN != "arn:aws:s3:::clinic-exports" {
				t.Errorf("%s lets everybody in: %v", policy, got)
			}
		}
	}
}

func TestWhichACLsGrantToEverybody(t *testing.T) {
	const group = "http://acs.amazonaws.com/groups/global/AllUsers"
	for params, want := range map[string]bool{
		`{"bucketName":"clinic-exports","x-amz-acl":["public-read"]}`: true, `{"bucketName":"clinic-exports","x-amz-acl":"private"}`: false,
		`{"bucketName":"clinic-exports","cannedAcl":"public-read-write"}`: true, `{"bucketName":"public-read","acl":""}`: false,
		`{"bucketName":"clinic-exports","AccessControlPolicy":{"AccessControlList":{"Grant":[{"Grantee":{"ID":"x"},"Permission":"READ"},{"Grantee":{"URI":"` + group + `"},"Permission":"READ"}]}}}`: true,
		`{"bucketName":"clinic-exports","AccessControlPolicy":{"AccessControlList":{"Grant":{"Grantee":{"URI":"http://acs.amazonaws.com/groups/global/AuthenticatedUsers"},"Permission":"READ"}}}}`:  true,
		`{"bucketName":"clinic-exports","AccessControlPolicy":{"AccessControlList":{"Grant":[{"Grantee":{"URI":"http://acs.amazonaws.com/groups/s3/LogDelivery"},"Permission":"WRITE"}]}}}`:          false,
		`{"bucketName":"clinic-exports","accessControlList":{"x-amz-grant-read":"uri=\"` + group + `\""}}`:                                                                                           true, `{"bucketName":"clinic-exports"}`: false,
	} {
		_, err := Decode(changed(t, "cloudtrail-public-acl", json.RawMessage(params), "detail", "requestParameters"))
		if got := err == nil; got != want {
			t.Errorf("%s grants to everybody: %v (%v)", params, got, err)
		}
	}
}

func TestAFailedCallChangedNothing(t *testing.T) {
	for path, value := range map[string]any{
		"errorCode": "AccessDenied", "errorMessage": "You are not authorized", "requestParameters.dryRun": true,
	} {
		f := one(t, changed(t, "cloudtrail-group-opened", value, append([]string{"detail"}, strings.Split(path, ".")...)...))
		if f.Settled == "" {
			t.Errorf("with %s %v it may be acted on", path, value)
		}
	}
	if f := one(t, changed(t, "cloudtrail-group-opened", "Client.DryRunOperation", "detail", "errorCode")); !strings.Contains(f.Settled, "dry run") {
		t.Errorf("a dry run: %q", f.Settled)
	}
	if f := one(t, event1(t, "cloudtrail-group-opened")); f.Settled != "" {
		t.Errorf("one that succeeded: %q", f.Settled)
	}
}

// Whoever takes management events out of what a trail records has stopped it as well as one who stops it, in either kind of selectors.
func TestWhoNarrowsATrail(t *testing.T) {
	advanced := func(fields ...string) map[string]any {
		var list []any
		for _, f := range fields {
			list = append(list, json.RawMessage(f))
		}
		return map[string]any{"trailName": "clinic", "advancedEventSelectors": []any{map[string]any{"name": "s", "fieldSelectors": list}}}
	}
	const management, data = `{"field":"eventCategory","equals":["Management"]}`, `{"field":"eventCategory","equals":["Data"]}`
	for name, c := range map[string]struct {
		parameters map[string]any
		band       incident.Band
	}{
		"without them":             {map[string]any{"trailName": "clinic", "eventSelectors": []any{map[string]any{"includeManagementEvents": false}}}, incident.High},
		"writes only":              {map[string]any{"trailName": "clinic", "eventSelectors": []any{map[string]any{"includeManagementEvents": true, "readWriteType": "WriteOnly"}}}, incident.High},
		"all of them":              {map[string]any{"trailName": "clinic", "eventSelectors": []any{map[string]any{"includeManagementEvents": true, "readWriteType": "All"}}}, incident.Medium},
		"advanced, data only":      {advanced(data, `{"field":"resources.type","equals":["AWS::S3::Object"]}`), incident.High},
		"advanced, reads only":     {advanced(management, `{"field":"readOnly","equals":["true"]}`), incident.High},
		"advanced, one source":     {advanced(management, `{"field":"eventSource","equals":["kms.amazonaws.com"]}`), incident.High},
		"advanced, all of them":    {advanced(management), incident.Medium},
		"advanced, all but of KMS": {advanced(management, `{"field":"eventSource","notEquals":["kms.amazonaws.com"]}`), incident.Medium},
	} {
		raw := []byte(strings.ReplaceAll(string(changed(t, "cloudtrail-trail-stopped", c.parameters, "detail", "requestParameters")), "StopLogging", "PutEventSelectors"))
		if f := one(t, raw); f.Band != c.band || f.Type != "PutEventSelectors" {
			t.Errorf("%s: %s %s, want %s", name, f.Type, f.Band, c.band)
		}
	}
}

// Who made the call, by what AWS says of the session: its role's ARN, its name, and the source identity.
func TestTheSessionBehindACall(t *testing.T) {
	want := Caller{Issuer: "arn:aws:iam::222222222222:role/SecurityRemediationRole-Network", Session: "INC-BWJ4TH5BLF5DYQIG", SourceIdentity: "INC-BWJ4TH5BLF5DYQIG"}
	if f := one(t, event1(t, "cloudtrail-own-session")); f.Caller != want {
		t.Errorf("%+v", f.Caller)
	}
}

func TestCallers(t *testing.T) {
	for name, c := range map[string]struct{ identity, want string }{
		"user with a path":   {`{"type":"IAMUser","userName":"alice","arn":"arn:aws:iam::222222222222:user/ops/alice","principalId":"AIDAEXAMPLEEXAMPLE02"}`, "user alice arn:aws:iam::222222222222:user/ops/alice"},
		"assumed role":       {`{"type":"AssumedRole","arn":"arn:aws:sts::222222222222:assumed-role/app/s","principalId":"AROAEXAMPLEEXAMPLE01:s","sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::222222222222:role/path/app","userName":"app"}}}`, "role app arn:aws:iam::222222222222:role/path/app"},
		"without its issuer": {`{"type":"AssumedRole","arn":"arn:aws:sts::222222222222:assumed-role/app/s"}`, "role app arn:aws:iam::222222222222:role/app"},
		"root":               {`{"type":"Root","arn":"arn:aws:iam::222222222222:root"}`, "root root arn:aws:iam::222222222222:root"},
		"federated":          {`{"type":"FederatedUser","arn":"arn:aws:sts::222222222222:federated-user/x"}`, "federated x "},
		"service":            {`{"type":"AWSService","invokedBy":"autoscaling.amazonaws.com"}`, "  "},
		"another account":    {`{"type":"AWSAccount","accountId":"333333333333","principalId":"x"}`, "account  "},
		"another's user":     {`{"type":"IAMUser","userName":"eve","arn":"arn:aws:iam::333333333333:user/eve"}`, "other  "},
		"identity center":    {`{"type":"IdentityCenterUser","principalId":"x"}`, "identity-center  "},
		"SSO role":           {`{"type":"AssumedRole","arn":"arn:aws:sts::222222222222:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/bob"}`, "identity-center AWSReservedSSO_Admin_0123456789abcdef "},
		"unknown":            {`{"type":"Unknown"}`, "other  "},
		"none":               {`{}`, "  "},
		"no object":          {`"nobody"`, "  "},
	} {
		f := one(t, changed(t, "cloudtrail-trail-stopped", json.RawMessage(c.identity), "detail", "userIdentity"))
		if got := fmt.Sprint(f.Principal.Kind, " ", f.Principal.Name, " ", f.Principal.ARN); got != c.want && !(name == "service" && f.Principal.Kind == WhoService) {
			t.Errorf("%s: %q (%s), want %q", name, got, f.Principal.Doubt, c.want)
		}
	}
}

// A call across accounts is recorded in the caller's account too: what it changed is not there.
func TestAnotherAccountsBucketIsNoTarget(t *testing.T) {
	raw := changed(t, "cloudtrail-public-policy", []any{map[string]any{"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::clinic-exports", "accountId": "333333333333"}}, "detail", "resources")
	if r := one(t, raw).Resources[0]; r.ARN != "" || r.Account != "333333333333" {
		t.Errorf("%+v", r)
	}
}
