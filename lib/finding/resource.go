package finding

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Kind of a resource: the type name that CloudFormation, Config and OCSF use. A kind that is not listed here stands as found.
type Kind string

// Kinds that decoders and rules name.
const (
	Instance      Kind = "AWS::EC2::Instance"
	Volume        Kind = "AWS::EC2::Volume"
	Snapshot      Kind = "AWS::EC2::Snapshot"
	Image         Kind = "AWS::EC2::Image"
	SecurityGroup Kind = "AWS::EC2::SecurityGroup"
	Bucket        Kind = "AWS::S3::Bucket"
	Object        Kind = "AWS::S3::Object"
	User          Kind = "AWS::IAM::User"
	Role          Kind = "AWS::IAM::Role"
	AccessKey     Kind = "AWS::IAM::AccessKey"
	Trail         Kind = "AWS::CloudTrail::Trail"
	Queue         Kind = "AWS::SQS::Queue"
	Topic         Kind = "AWS::SNS::Topic"
	Key           Kind = "AWS::KMS::Key"
	Secret        Kind = "AWS::SecretsManager::Secret"
	Function      Kind = "AWS::Lambda::Function"
	Database      Kind = "AWS::RDS::DBInstance"
	DBCluster     Kind = "AWS::RDS::DBCluster"
	DBSnapshot    Kind = "AWS::RDS::DBSnapshot"
	DBClusterSnap Kind = "AWS::RDS::DBClusterSnapshot"
	EKSCluster    Kind = "AWS::EKS::Cluster"
	ECSCluster    Kind = "AWS::ECS::Cluster"
	Account       Kind = "AWS::::Account"
)

// shape is how the ARN of a kind is built, so that what is none is not taken for one.
type shape struct {
	service string
	// prefix and id make the ARN's resource.
	prefix string
	id     *regexp.Regexp
	// never is what an id looks like that is something else's all the same.
	never *regexp.Regexp
	// global ones have no region in their ARN, ownerless ones no account; shared ones are often written without one.
	global, ownerless, shared bool
}

var (
	instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)
	bucketName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$`)
	// Names of access points, of directory and of table buckets: S3 User Guide, "General purpose bucket naming rules".
	otherBucket = regexp.MustCompile(`(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$`)
	iamName     = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	iamPath     = regexp.MustCompile(`^([\w+=,.@-]+/)*$`)
	plainName   = regexp.MustCompile(`^[\w.-]{1,256}$`)
)

// fits tells whether that can be the id of one.
func (sh shape) fits(id string) bool {
	return sh.id.MatchString(id) && (sh.never == nil || !sh.never.MatchString(id))
}

// shapes of the kinds that actions are aimed at: Service Authorization Reference, "Resource types defined by …".
var shapes = map[Kind]shape{
	Instance:      {service: "ec2", prefix: "instance/", id: instanceID},
	Volume:        {service: "ec2", prefix: "volume/", id: regexp.MustCompile(`^vol-([0-9a-f]{8}|[0-9a-f]{17})$`)},
	Snapshot:      {service: "ec2", prefix: "snapshot/", id: regexp.MustCompile(`^snap-([0-9a-f]{8}|[0-9a-f]{17})$`), shared: true},
	Image:         {service: "ec2", prefix: "image/", id: regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`), shared: true},
	SecurityGroup: {service: "ec2", prefix: "security-group/", id: regexp.MustCompile(`^sg-([0-9a-f]{8}|[0-9a-f]{17})$`)},
	Bucket:        {service: "s3", id: bucketName, never: otherBucket, global: true, ownerless: true},
	User:          {service: "iam", prefix: "user/", id: iamName, global: true},
	Role:          {service: "iam", prefix: "role/", id: iamName, global: true},
	Trail:         {service: "cloudtrail", prefix: "trail/", id: regexp.MustCompile(`^[a-zA-Z0-9][\w.-]{1,126}[a-zA-Z0-9]$`)},
	Queue:         {service: "sqs", id: regexp.MustCompile(`^[\w-]{1,80}(\.fifo)?$`)},
	Topic:         {service: "sns", id: regexp.MustCompile(`^[\w-]{1,256}(\.fifo)?$`)},
	Database:      {service: "rds", prefix: "db:", id: plainName},
	DBCluster:     {service: "rds", prefix: "cluster:", id: plainName},
	DBSnapshot:    {service: "rds", prefix: "snapshot:", id: regexp.MustCompile(`^[\w.:-]{1,256}$`)},
	DBClusterSnap: {service: "rds", prefix: "cluster-snapshot:", id: regexp.MustCompile(`^[\w.:-]{1,256}$`)},
	EKSCluster:    {service: "eks", prefix: "cluster/", id: plainName},
	ECSCluster:    {service: "ecs", prefix: "cluster/", id: plainName},
	Function:      {service: "lambda", prefix: "function:", id: plainName},
}

// kinds by their name without punctuation and case, which is what the spellings of the services have in common:
// AwsEc2Instance, AWS_EC2_INSTANCE, EC2_INSTANCE and AWS::EC2::Instance.
var kinds = func() map[string]Kind {
	out := map[string]Kind{
		"accesskey": AccessKey, "awsaccount": Account, "ec2ami": Image, "s3generalpurposebucket": Bucket, "lambda": Function,
		"rdsinstance": Database,
	}
	for _, k := range []Kind{
		Instance, Volume, Snapshot, Image, SecurityGroup, Bucket, Object, User, Role, AccessKey, Trail, Queue, Topic, Key, Secret,
		Function, Database, DBCluster, DBSnapshot, DBClusterSnap, EKSCluster, ECSCluster, Account, "AWS::EC2::NetworkInterface",
		"AWS::EC2::VPC", "AWS::AutoScaling::AutoScalingGroup", "AWS::IAM::InstanceProfile", "AWS::IAM::Group", "AWS::IAM::Policy",
		"AWS::ECS::Task", "AWS::ECR::Repository", "AWS::CloudFormation::Stack", "AWS::DynamoDB::Table", "AWS::EFS::FileSystem",
		"AWS::EC2::LaunchTemplate",
	} {
		out[squashed(string(k))] = k
	}
	return out
}()

func squashed(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, s)
	return strings.TrimPrefix(s, "aws")
}

// kindNamed gives the kind that any service's word stands for, or the word itself.
func kindNamed(word string) Kind {
	if k, ok := kinds[squashed(word)]; ok && word != "" {
		return k
	}
	return Kind(words(word, 128))
}

// Part is what a resource plays in a finding.
type Part string

const (
	Actor  Part = "actor"
	Target Part = "target"
)

// parts by what the services call them.
var parts = map[string]Part{"ACTOR": Actor, "TARGET": Target, "Actor": Actor, "Target": Target, "actor": Actor, "target": Target}

// Resource is one resource that a finding names. ARN is empty where the finding says too little for one, or contradicts itself:
// no action is possible then.
type Resource struct {
	Type    Kind
	ID      string
	ARN     string
	Account string
	Region  string            // empty for global ones
	Part    Part              // only of the resource that the finding is about, where it says so
	Tags    map[string]string // as the finding has them; whoever may tag the resource chose them
}

// wellFormed tells whether each part of an ARN can be one.
func wellFormed(a arn.ARN) bool {
	return partition.MatchString(a.Partition) && a.Service != "" && a.Resource != "" &&
		(a.AccountID == "" || accountID.MatchString(a.AccountID)) && (a.Region == "" || regionName.MatchString(a.Region))
}

// named makes a resource of what a source calls it: an ARN, or an id or name of its kind. An ARN that does not fit the kind, or
// an id that is none, gives a resource without ARN. A malformed ARN that ends in a proper id is mended from the finding's own
// account and region.
func (f *Finding) named(k Kind, given string) Resource {
	res := Resource{Type: k, ID: words(given, 256), Account: f.Account, Region: f.Region}
	sh, known := shapes[k]
	if known && sh.global || k == AccessKey || k == Account || k == Object {
		res.Region = ""
	}
	if !strings.HasPrefix(given, "arn:") {
		if known && sh.fits(given) {
			res.ARN = f.arn(sh, given)
		}
		return res
	}
	a, err := arn.Parse(given)
	if err != nil || !wellFormed(a) {
		id := given[strings.LastIndexAny(given, "/:")+1:]
		if known && sh.service == "ec2" && sh.fits(id) {
			res.ID, res.ARN = id, f.arn(sh, id)
		}
		return res
	}
	if a.AccountID != "" {
		res.Account = a.AccountID
	}
	if a.Region != "" {
		res.Region = a.Region
	}
	switch {
	case !known:
		res.ARN = given
		if k == Object || k == Secret {
			res.ID = words(a.Resource, 256)
		} else {
			res.ID = words(a.Resource[strings.LastIndexAny(a.Resource, "/:")+1:], 256)
		}
	case a.Service == sh.service && strings.HasPrefix(a.Resource, sh.prefix):
		id := a.Resource[len(sh.prefix):]
		path := ""
		if sh.service == "iam" {
			i := strings.LastIndex(id, "/")
			path, id = id[:i+1], id[i+1:]
		}
		if k == Function {
			id, _, _ = strings.Cut(id, ":")
		}
		if sh.shared && a.AccountID == "" && a.Region != "" {
			a.AccountID = f.Account
			given = a.String()
		}
		complete := (sh.ownerless || a.AccountID != "") && (sh.global || a.Region != "")
		if sh.fits(id) && iamPath.MatchString(path) && !strings.Contains(path, "..") && complete {
			res.ID, res.ARN = id, given
		}
	}
	return res
}

// placed takes account and region that the record gives a resource besides. One that is not the finding's after all is named, and not acted
// on: its id would stand for another resource in the finding's own.
func (f *Finding) placed(account, region string, r Resource) Resource {
	if account != "" && account != r.Account {
		r.Account, r.ARN = words(account, 20), ""
	}
	if sh, known := shapes[r.Type]; known && !sh.global && r.Region == f.Region && region != "" && region != r.Region {
		r.Region, r.ARN = words(region, 30), ""
	}
	return r
}

// arn builds an ARN of that shape in the finding's account and region; empty where one is missing.
func (f *Finding) arn(sh shape, id string) string {
	account, region := f.Account, f.Region
	if sh.ownerless {
		account = ""
	} else if !accountID.MatchString(account) {
		return ""
	}
	if sh.global {
		region = ""
	} else if !regionName.MatchString(region) {
		return ""
	}
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s%s", f.Partition, sh.service, region, account, sh.prefix, id)
}

// aboutTheFirst makes it a finding about the first resource that it names.
func (f *Finding) aboutTheFirst() {
	if len(f.Resources) > 0 {
		f.About = string(f.Resources[0].Type)
	}
}

// add appends the resource unless it is there already; tags and part that are new are kept.
func (f *Finding) add(r Resource) {
	if r.ID == "" && r.ARN == "" {
		return
	}
	for i, have := range f.Resources {
		if have.Type == r.Type && have.ID == r.ID && (have.ARN == r.ARN || have.ARN == "" || r.ARN == "") && have.Account == r.Account {
			if have.ARN == "" {
				f.Resources[i].ARN = r.ARN
			}
			if have.Part == "" {
				f.Resources[i].Part = r.Part
			}
			if have.Tags == nil {
				f.Resources[i].Tags = r.Tags
			}
			return
		}
	}
	f.Resources = append(f.Resources, r)
}

// tagsOf reads tags in any of the forms that services write: a map, or a list of {key, value}, {Key, Value} or {name, value}.
func tagsOf(v any) map[string]string {
	out := map[string]string{}
	put := func(k, v string) {
		if k != "" {
			out[words(k, 128)] = words(v, 256)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			put(k, tree(v).text(k))
		}
	case []any:
		for _, item := range v {
			if t := asTree(item); t != nil {
				put(t.any("key", "Key", "name"), t.any("value", "Value"))
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
