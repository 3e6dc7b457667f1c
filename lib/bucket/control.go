package bucket

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	smithy "github.com/aws/smithy-go/endpoints"
)

// Control is S3 Control's client. Where an address is given it is used as it is: the account's id, which the SDK puts before it, is no
// name there.
func Control(cfg aws.Config) *s3control.Client {
	return s3control.NewFromConfig(cfg, func(o *s3control.Options) {
		if cfg.BaseEndpoint != nil {
			o.EndpointResolverV2 = given(*cfg.BaseEndpoint)
		}
	})
}

type given string

func (g given) ResolveEndpoint(context.Context, s3control.EndpointParameters) (smithy.Endpoint, error) {
	u, err := url.Parse(string(g))
	if err != nil {
		return smithy.Endpoint{}, fmt.Errorf("the address %q: %w", string(g), err)
	}
	return smithy.Endpoint{URI: *u}, nil
}
