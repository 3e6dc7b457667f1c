package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// depot takes content and says where it is.
type depot interface {
	put(ctx context.Context, name, extension string, content []byte) (key string, err error)
	url(key string) string
	name() string
}

func (a *artifacts) name() string { return a.bucket }

// packer puts the addresses of uploaded files in the place of a template's local paths: nested templates, functions, machine
// definitions. Nothing else of a template is touched.
type packer struct {
	root      string // of the repository
	arch      string
	artifacts depot
	// spread is where the functions of stack sets go: to a bucket in each of their regions, since Lambda takes code from its own
	// region only. nil where nothing is deployed to several.
	spread depot
}

// template uploads a template, and before it everything that it names, and gives its URL.
func (p packer) template(ctx context.Context, file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.root, file))
	if err != nil {
		return "", err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if doc.Kind != yaml.DocumentNode {
		return "", fmt.Errorf("%s is empty", file)
	}
	resources := child(doc.Content[0], "Resources")
	if resources == nil {
		return "", fmt.Errorf("%s has no Resources", file)
	}
	for i := 0; i+1 < len(resources.Content); i += 2 {
		if err := p.resource(ctx, path.Dir(file), resources.Content[i+1]); err != nil {
			return "", fmt.Errorf("%s: %s: %w", file, resources.Content[i].Value, err)
		}
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	key, err := p.artifacts.put(ctx, file[:len(file)-len(path.Ext(file))], path.Ext(file), buf.Bytes())
	return p.artifacts.url(key), err
}

// resource packages one resource. dir is where its template lies.
func (p packer) resource(ctx context.Context, dir string, res *yaml.Node) error {
	kind, properties := child(res, "Type"), child(res, "Properties")
	if kind == nil || properties == nil {
		return nil
	}
	switch kind.Value {
	case "AWS::CloudFormation::Stack":
		if at := child(properties, "TemplateURL"); at != nil {
			url, err := p.template(ctx, path.Join(dir, at.Value))
			if err != nil {
				return err
			}
			at.Value = url
		}
	case "AWS::CloudFormation::StackSet":
		if at := child(properties, "TemplateURL"); at != nil {
			inner := p
			inner.artifacts = p.spread
			url, err := inner.template(ctx, path.Join(dir, at.Value))
			if err != nil {
				return err
			}
			at.Value = url
		}
	case "AWS::Lambda::Function":
		if at := child(properties, "Code"); at != nil && at.Kind == yaml.ScalarNode {
			name := path.Base(at.Value)
			return p.file(ctx, at, filepath.Join("dist", p.arch, name+".zip"), "functions/"+name, "S3Bucket", "S3Key",
				fmt.Sprintf("build it first: scripts/build --arch %s", p.arch))
		}
	case "AWS::StepFunctions::StateMachine":
		if at := child(properties, "DefinitionS3Location"); at != nil && at.Kind == yaml.ScalarNode {
			file := path.Join(dir, at.Value)
			return p.file(ctx, at, file, file[:len(file)-len(path.Ext(file))], "Bucket", "Key", "it is named by the template")
		}
	}
	return nil
}

// file uploads a file and puts {bucket: …, key: …} in the place of at.
func (p packer) file(ctx context.Context, at *yaml.Node, file, name, bucket, key, advice string) error {
	content, err := os.ReadFile(filepath.Join(p.root, file))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s; %s", file, advice)
	}
	if err != nil {
		return err
	}
	uploaded, err := p.artifacts.put(ctx, name, path.Ext(file), content)
	if err != nil {
		return err
	}
	where := &yaml.Node{Kind: yaml.ScalarNode, Value: p.artifacts.name()}
	if strings.Contains(where.Value, "${") {
		where.Tag = "!Sub"
	}
	*at = yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Value: bucket}, where,
		{Kind: yaml.ScalarNode, Value: key}, {Kind: yaml.ScalarNode, Value: uploaded},
	}}
	return nil
}

// child gives the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
