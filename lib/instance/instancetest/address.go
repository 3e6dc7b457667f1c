package instancetest

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Address gives an interface private addresses of both families.
func (e *EC2) Address(eni string, addresses ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := *e.interfaces[eni]
	for _, a := range addresses {
		if strings.Contains(a, ":") {
			n.Ipv6Addresses = append(n.Ipv6Addresses, types.NetworkInterfaceIpv6Address{Ipv6Address: aws.String(a)})
		} else {
			n.PrivateIpAddresses = append(n.PrivateIpAddresses, types.NetworkInterfacePrivateIpAddress{PrivateIpAddress: aws.String(a)})
		}
	}
	e.interfaces[eni] = &n
}

// Change runs a changing call of another service at this account: Step is asked, Dead fails it, Calls has it.
func (e *EC2) Change(ctx context.Context, call string, do func() error) error {
	return (&Session{EC2: e}).change(ctx, call, do)
}
