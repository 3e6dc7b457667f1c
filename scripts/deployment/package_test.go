package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
)

// shelf is a depot in memory: name to content.
type shelf map[string]string

func (s shelf) put(_ context.Context, name, extension string, content []byte) (string, error) {
	s[name+extension] = string(content)
	return name + "/hash" + extension, nil
}
func (s shelf) url(key string) string { return "https://s3.example.com/" + key }
func (s shelf) name() string          { return "bucket" }

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var parts = map[string]string{
	"cloudformation/root.yaml": `Resources:
  Functions:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: functions.yaml, Parameters: {Key: !GetAtt Storage.Outputs.Key}}
`,
	"cloudformation/functions.yaml": `Resources:
  # why
  NotifyFunction:
    Type: AWS::Lambda::Function
    Properties: {Code: ../functions/notify, Role: !Sub '${Role}'}
  Inline:
    Type: AWS::Lambda::Function
    Properties: {Code: {ZipFile: x}}
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties: {DefinitionS3Location: ../statemachines/respond.asl.json}
  Topic:
    Type: AWS::SNS::Topic
`,
	"statemachines/respond.asl.json": `{}`,
	"dist/arm64/notify.zip":          "zip",
}

func TestLocalPathsBecomeUploadedOnes(t *testing.T) {
	store := shelf{}
	url, err := packer{root: tree(t, parts), arch: "arm64", artifacts: store}.template(t.Context(), "cloudformation/root.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := shelf{
		"cloudformation/root.yaml": strings.Replace(parts["cloudformation/root.yaml"], "functions.yaml", "'https://s3.example.com/cloudformation/functions/hash.yaml'", 1),
		"cloudformation/functions.yaml": strings.NewReplacer(
			"../functions/notify", "{S3Bucket: bucket, S3Key: functions/notify/hash.zip}",
			"../statemachines/respond.asl.json", "{Bucket: bucket, Key: statemachines/respond.asl/hash.json}",
		).Replace(parts["cloudformation/functions.yaml"]),
		"statemachines/respond.asl.json": `{}`,
		"functions/notify.zip":           "zip",
	}
	if diff := cmp.Diff(want, store); diff != "" {
		t.Error(diff)
	}
	if url != "https://s3.example.com/cloudformation/root/hash.yaml" {
		t.Errorf("the template is at %s", url)
	}
}

// Lambda takes code from its own region: a stack set's template names the bucket of whichever region it is in, and the code is in all.
func TestAStackSetTakesItsFunctionsFromItsOwnRegion(t *testing.T) {
	files := map[string]string{
		"cloudformation/stacksets.yaml": "Resources:\n  RuleStacks:\n    Type: AWS::CloudFormation::StackSet\n    Properties: {TemplateURL: functions.yaml}\n",
		"cloudformation/functions.yaml": parts["cloudformation/functions.yaml"], "statemachines/respond.asl.json": "{}", "dist/arm64/notify.zip": "zip",
	}
	home, here, there := shelf{}, &keeper{}, &keeper{}
	all := spread{[]*artifacts{
		{session: &session{account: "111111111111", cfg: aws.Config{Region: "us-east-1"}, log: io.Discard}, api: here, bucket: "here"},
		{session: &session{account: "111111111111", cfg: aws.Config{Region: "eu-west-1"}, log: io.Discard}, api: there, bucket: "there"},
	}}
	if _, err := (packer{root: tree(t, files), arch: "arm64", artifacts: home, spread: all}).template(t.Context(), "cloudformation/stacksets.yaml"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(here.keys, there.keys) || len(here.keys) != 3 {
		t.Errorf("one region has %v, the other %v", here.keys, there.keys)
	}
	i := slices.IndexFunc(here.keys, func(k string) bool { return strings.HasPrefix(k, "cloudformation/functions/") })
	if want := "S3Bucket: !Sub 'firebreak-artifacts-111111111111-${AWS::Region}'"; i < 0 || !strings.Contains(here.bodies[i], want) {
		t.Errorf("%v lacks %s", here.bodies, want)
	}
	if !strings.Contains(home["cloudformation/stacksets.yaml"], "https://s3.us-east-1.amazonaws.com/here/cloudformation/functions/") {
		t.Errorf("the stack set reads %s", home["cloudformation/stacksets.yaml"])
	}
}

// keeper is a bucket that notes what is put into it.
type keeper struct {
	bucketAPI
	keys, bodies []string
}

func (k *keeper) HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	return nil, &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusNotFound}}}}
}

func (k *keeper) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	k.keys, k.bodies = append(k.keys, *in.Key), append(k.bodies, string(body))
	return &s3.PutObjectOutput{}, err
}

func TestAFunctionThatIsNotBuiltIsNamed(t *testing.T) {
	_, err := packer{root: tree(t, parts), arch: "x86_64", artifacts: shelf{}}.template(t.Context(), "cloudformation/root.yaml")
	want := "NotifyFunction: there is no dist/x86_64/notify.zip; build it first: scripts/build --arch x86_64"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

// What the templates of the project are made of comes through packaging unharmed.
func TestTheProjectsOwnTemplatesPackage(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"cloudformation", "statemachines"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS("../../"+dir)); err != nil {
			t.Fatal(err)
		}
	}
	functions, _ := filepath.Glob("../../functions/*/main.go")
	for _, f := range functions {
		zip := filepath.Join(root, "dist", "arm64", filepath.Base(filepath.Dir(f))+".zip")
		if err := os.MkdirAll(filepath.Dir(zip), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(zip, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store := shelf{}
	if _, err := (packer{root: root, arch: "arm64", artifacts: store}).template(t.Context(), "cloudformation/root.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, alone := range []string{"cloudformation/config-rules.yaml", "cloudformation/stacksets.yaml"} {
		if _, err := (packer{root: root, arch: "arm64", artifacts: store, spread: store}).template(t.Context(), alone); err != nil {
			t.Fatal(err)
		}
	}
	local := 0
	for name, content := range store {
		for _, path := range []string{"TemplateURL: root", "TemplateURL: member", "TemplateURL: config", "Code: ../", "DefinitionS3Location: ../"} {
			if strings.Contains(content, path) {
				t.Errorf("%s still has %s", name, path)
			}
		}
		if strings.HasSuffix(name, ".yaml") && len(content) > 1e6 {
			t.Errorf("%s has %d bytes, more than CloudFormation reads from S3", name, len(content))
		}
		local++
	}
	if want := len(functions); local < want {
		t.Error(fmt.Errorf("%d files were uploaded, fewer than the %d functions", local, want))
	}
}
